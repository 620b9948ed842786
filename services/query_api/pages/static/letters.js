// Dead letters by reason, with what they hold; their messages are sent again by a button that asks first.
import { useAnswers } from "./api.js";
import { exactSum } from "./digits.js";
import { Ago, Button, Card, Counted, Empty, Figure, Loading, Problem, Title } from "./parts.js";
import { html, useEffect, useRef, useState } from "./view.js";
import { when } from "./words.js";

const ADDRESS = "/admin/v1/dead-letters";
const AGAIN_MS = [3_000, 8_000];
const COMMANDS = ["tidemark dead-letters list", "tidemark dead-letters show TOPIC/PARTITION/OFFSET"];

export function DeadLetters({ session, notices }) {
  const [looks, look] = useState(0);
  const { data, errors, isLoading } = useAnswers(session, { letters: ADDRESS }, looks);
  const found = data.letters;
  const again = () => look((count) => count + 1);
  const later = useRef([]);
  // What fails again is a letter again some seconds later.
  const sent = () => {
    again();
    later.current.forEach(clearTimeout);
    later.current = AGAIN_MS.map((delay) => setTimeout(again, delay));
  };
  useEffect(() => () => later.current.forEach(clearTimeout), []);
  return html`
    <${Title} text="Dead letters">
      <${Button} onClick=${again} isOff=${isLoading}>${isLoading ? "Looking" : "Look again"}<//><//>
    ${notices}
    ${errors.letters && html`<${Problem} error=${errors.letters} what="The dead letters" />`}
    ${!found && isLoading && html`<${Loading} lines=${5} />`}
    ${found && !found.data.length && html`<${Empty} title="No dead letters">Every raw event that is still kept could be mapped.<//>`}
    ${found?.data.length > 0 && html`<p class="quiet" data-id="all" data-kind="letters">Raw events that could not be mapped${Number(found.looked_at) >= Number(found.most) && html`; these are the newest <${Figure} metric="looked_at" value=${found.looked_at} />`}.
      Find the cause in the details, mend it, then send the messages again: an event counts once, however often it comes.</p>`}
    ${found?.data.map((one) => html`<${Reason} key=${one.reason} session=${session} held=${one} onSent=${sent} />`)}
    <${Card} title="At a terminal" note="Where the services run; docs/operations.md, “Dead letters”.">
      ${COMMANDS.map((text) => html`<pre key=${text}>${text}</pre>`)}
    <//>`;
}

function Reason({ session, held, onSent }) {
  return html`<section class="card" data-id=${held.reason} data-kind="letters">
    <header><h2><code>${held.reason}</code></h2>
      <p class="quiet"><${Counted} metric="letters" value=${held.letters} one="letter" /> of <${Counted} metric="workspaces" value=${held.workspaces} one="workspace" />, the newest <${Ago} at=${held.newest_at} />;
        ${" "}<${Figure} metric="redriven" value=${held.redriven} /> sent again since</p></header>
    <${Redrive} session=${session} reason=${held.reason} onSent=${onSent} />
    ${held.examples.map((one) => html`<details class="letter" key=${one.origin} data-id=${one.origin}>
      <summary><span class="what"><bdi>${one.detail || "No detail"}</bdi></span>
        <span class="quiet small"><bdi>${one.workspace_id || "no workspace"}</bdi> · ${when(one.failed_at)}${one.redriven_at ? " · sent again" : ""}</span></summary>
      <p class="quiet small">Read at <code>${one.origin}</code>. Secrets are blanked${one.is_shortened ? "; this is the beginning" : ""}.</p>
      <pre tabindex="0">${one.payload || "Nothing is kept of it."}</pre>
    </details>`)}
  </section>`;
}

// Counts the messages first, then asks, then says what was done.
function Redrive({ session, reason, onSent }) {
  const [held, hold] = useState({});
  const cancel = useRef();
  const opener = useRef();
  const done = useRef();
  const wasAsked = useRef(false);
  useEffect(() => {
    // A second Enter on the same place must not send: it cancels.
    if (held.count) cancel.current?.focus();
    else if (held.done) done.current?.focus();
    else if (wasAsked.current) opener.current?.focus();
    wasAsked.current = Boolean(held.count);
  }, [held.count, held.done]);
  const send = async (isDry) => {
    hold((before) => ({ ...before, error: null, isBusy: true }));
    try {
      const answer = await session.post(`${ADDRESS}/redrive`, { reasons: [reason], is_dry: isDry });
      hold(isDry ? { count: answer } : { done: answer });
      if (!isDry) onSent();
    } catch (error) {
      hold({ error });
    }
  };
  const messages = held.count && Number(held.count.messages);
  return html`<div class="redrive">
    ${!messages && html`<${Button} place=${opener} onClick=${() => send(true)} isOff=${held.isBusy}>Send again…<//>`}
    ${held.count && messages === 0 && html`<p role="status">There is no message to send any more.</p>`}
    ${messages > 0 && html`<div class="ask" role="group" aria-label=${`Send the messages of ${reason} again`}>
      <p><strong>Send <${Counted} metric="messages" value=${held.count.messages} one="message" /> to the aggregators again?</strong> Do this once the cause is mended; else they become dead letters again.</p>
      <${Button} class="primary" onClick=${() => send(false)} isOff=${held.isBusy}>${held.isBusy ? "Sending" : html`<span>Send <${Counted} metric="messages" value=${held.count.messages} one="message" /></span>`}<//>
      <${Button} place=${cancel} onClick=${() => hold({})} isOff=${held.isBusy}>Cancel<//>
    </div>`}
    ${held.error && html`<${Problem} error=${held.error} isOnce what="The dead letters" />`}
    ${held.done && html`<div class=${`notice ${Number(held.done.failed) ? "bad" : "good"}`} role="status" tabindex="-1" ref=${done} data-kind="redriven" data-id=${reason}>
      <strong>Sent <${Figure} metric="sent" value=${exactSum([held.done.sent_as_received, held.done.sent_as_kept])} /> of <${Counted} metric="messages" value=${held.done.messages} one="message" /> again:</strong>
      ${" "}<${Figure} metric="sent_as_received" value=${held.done.sent_as_received} /> as received,
      ${" "}<${Figure} metric="sent_as_kept" value=${held.done.sent_as_kept} /> as kept in their letters. Those that fail again are letters again within seconds.
      ${Number(held.done.failed) > 0 && html`<ul>${held.done.failures.map((text) => html`<li key=${text}>${text}</li>`)}</ul>`}
    </div>`}
  </div>`;
}
