// Follows a stream by EventSource, which resumes by itself: one line of JSON an event.
import { EventSource } from "eventsource";

const [address, key] = process.argv.slice(2);
const source = new EventSource(address, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, "x-api-key": key } }),
});
for (const type of ["post", "channel", "account"]) {
  source.addEventListener(type, (event) => {
    console.log(JSON.stringify({ type, id: event.lastEventId, change: JSON.parse(event.data) }));
  });
}
