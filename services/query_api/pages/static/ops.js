// The operator's page: what `tidemark status` knows, drawn.
import { addressWith, followLinks, placeOf, useParameters } from "./address.js";
import { Session, useAnswers } from "./api.js";
import { exactSum } from "./digits.js";
import { Ago, Card, Counted, Empty, Figure, Frame, Loading, Name, Platform, Problem, SignIn, Title, useTitle } from "./parts.js";
import { DeadLetters } from "./letters.js";
import { html, render, useEffect, useRef, useState } from "./view.js";
import { ago, duration, STATUSES } from "./words.js";

const LINKS = [["health", "Health"], ["platforms", "Platforms"], ["accounts", "Accounts"], ["dead-letters", "Dead letters"]];
const AGAIN_MS = 5_000;
const SILENT_LOOKS = 6;
const LOOKS_PER_LETTERS = 12;
const FRESH_LETTERS_MS = 3_600_000;
const FULL_BYTES = 64 * 2 ** 20;
const MUCH_LAG = 10_000;
const MOST_SPENDERS = 5;
const MUCH_LAG_SECONDS = 60;
const session = new Session("tidemark.admin");

const services = (status) => Object.entries(status.services);

// The sum of a rate over services; null where none tells it.
const rate = (status, name) => exactSum(services(status).map(([, held]) => held[name]));
const lagged = (status) => exactSum(status.kafka.lag.map((entry) => entry.lag)) ?? 0;
const greatest = (values) => values.reduce((most, value) => (most === null || Number(value) > Number(most) ? value : most), null);

// How long the first message that is not acknowledged has waited, seconds; null where nothing waits.
function waits(status) {
  return greatest(status.kafka.lag.filter((entry) => Number(entry.lag) > 0 && entry.waits_seconds !== null).map((entry) => entry.waits_seconds));
}

function platforms(status) {
  const found = new Map();
  for (const [, held] of services(status)) {
    for (const [name, one] of Object.entries(held.platforms ?? {})) found.set(name, [...(found.get(name) ?? []), one]);
  }
  return [...found].sort(([a], [b]) => a.localeCompare(b));
}

// The workspaces whose polls cost most, of all pollers: [workspace, dollars].
function spenders(pollers) {
  const spent = new Map(pollers.flatMap((one) => Object.entries(one.spent_usd_by_workspace ?? {})));
  return [...spent].sort(([, a], [, b]) => Number(b) - Number(a)).slice(0, MOST_SPENDERS);
}

const nameOf = (view) => LINKS.find(([name]) => name === view)[1];
const refusedShapes = (status) => services(status).flatMap(([, held]) => held.refused_shapes ?? []);

// In minutes: what is said of a verdict is read aloud whenever it changes.
const minutesAgo = (instant) => ago(instant, Math.max(Date.now(), new Date(instant).getTime() + 60_000));

// The first thing to do, or null while all is well: [what is wrong, what to do, section of docs/operations.md, view].
function first(status, accounts, letters) {
  if (!services(status).length) {
    return ["No service is known here.", "Name the services' operators' ports in TIDEMARK_STATUS_TARGETS of the query API.", "At 3 a.m."];
  }
  if (status.kafka.problem) return [`Kafka: ${status.kafka.problem}.`, "Bring Kafka back. Nothing is lost meanwhile: polls wait.", "TidemarkKafkaRetries"];
  if (status.clickhouse.problem) return [`ClickHouse: ${status.clickhouse.problem}.`, "Bring ClickHouse back. Events wait in Kafka meanwhile.", "TidemarkClickHouseRetries"];
  if (status.clickhouse.free_bytes !== null && Number(status.clickhouse.free_bytes) < FULL_BYTES) {
    return [html`ClickHouse's disk is full: <${Figure} metric="free_bytes" value=${status.clickhouse.free_bytes} /> are free.`, "Free some space. Events wait in Kafka meanwhile.", "A full disk"];
  }
  const down = services(status).find(([, held]) => held.readiness !== "ready");
  if (down) return [`${down[0]}: ${down[1].readiness}.`, "Look at the log of this service.", "At 3 a.m."];
  if (Number(lagged(status)) > MUCH_LAG || Number(waits(status)) > MUCH_LAG_SECONDS) return [html`The aggregator is <${Counted} metric="lag" value=${lagged(status)} one="message" />${waits(status) !== null && html` or <${Figure} metric="waits_seconds" value=${waits(status)} />`} behind.`, "See whether it catches up; else add aggregators.", "TidemarkLagGrows"];
  const stale = platforms(status).find(([, held]) => held.some((one) => Number(one.freshness) > 3));
  if (stale) return [`Figures of ${stale[0]} are older than promised.`, "See the platform's errors and budget under Platforms.", "TidemarkFiguresStale", "platforms"];
  if (refusedShapes(status).length) return [`${refusedShapes(status)[0].platform} refuses a kind of call.`, "See its words under Platforms; often a scope or a version of the API is missing.", "TidemarkShapeRefused", "platforms"];
  const fresh = letters?.data.filter((one) => Number(one.redriven) < Number(one.letters) && Date.now() - new Date(one.newest_at) < FRESH_LETTERS_MS) ?? [];
  if (fresh.length) return [html`<${Counted} metric="letters_left" value=${fresh.reduce((all, one) => all + Number(one.letters) - Number(one.redriven), 0)} one="answer" /> could not be read, the newest ${minutesAgo(fresh[0].newest_at)}.`, "Find the cause in what they hold, mend it, then send them again:", "Dead letters", "dead-letters"];
  if (Number(accounts?.waiting)) return [html`<${Counted} metric="waiting" value=${accounts.waiting} one="account" /> must be reconnected.`, "Their owners have to connect them again:", "TidemarkPlatformFails", "accounts"];
  return null;
}

// A verdict on the last status that was read. While the status can't be read, nobody knows whether the verdict still holds.
function Verdict({ status, accounts, letters, isOld, readAt }) {
  const found = first(status, accounts, letters);
  const health = isOld ? "unknown" : !found ? "good" : status.is_healthy ? "attention" : "bad";
  const words = html`${status.is_healthy && found ? "All services work. " : ""}${found ? found[0] : "Everything is healthy"}`;
  return html`<div class=${`verdict ${health}`} data-health=${health} data-id="first" data-kind="verdict">
    <span class="lamp" aria-hidden="true"></span>
    <div><div role="status"><strong>${isOld ? "The status can't be read now." : words}</strong>
      <p class="said">${isOld && html`When it was last read: ${words}${found ? "" : "."} `}${found ? html`${found[1]}${found[3] && html` <a href=${addressWith({ view: found[3] })}>${nameOf(found[3])}</a>`} <span class="quiet">(docs/operations.md, “${found[2]}”)</span>` : isOld ? "" : "Services answer, both engines answer, and figures are as fresh as promised."}</p></div>
      ${readAt && html`<p class="age quiet">${isOld ? "Last read" : "Read"} <${Ago} at=${readAt} />.</p>`}</div>
  </div>`;
}

function Health({ status, accounts, letters, isOld, readAt, notices }) {
  const flow = [
    ["Calls to platforms", "calls_per_second"],
    ["Raw events", "events_per_second"],
    ["Rows stored", "rows_per_second"],
    ["Rollups published", "rollups_per_second"],
    ["Reads answered", "requests_per_second"],
  ];
  const latencies = [
    ["From answer to visible", "event_latency_seconds"],
    ["A batch", "batch_seconds"],
    ["A read", "request_seconds"],
    ["A poll later than due", "late_seconds"],
  ];
  const lagBy = group(status.kafka.lag);
  const numbers = [...new Set(status.kafka.lag.map((entry) => entry.partition))].sort((a, b) => a - b);
  return html`
    <${Title} text="Health" />
    ${notices}
    <${Verdict} status=${status} accounts=${accounts} letters=${letters} isOld=${isOld} readAt=${readAt} />
    <${Card} title="Flow" note="Per second, over the last second.">
      <ul class="flow" data-kind="flow">${flow.map(([name, key]) => html`<li key=${key} data-id=${key}><span class="name">${name}</span>
        <span class="value"><${Figure} metric=${key} value=${rate(status, key)} reason="no_answer" /></span></li>`)}</ul>
      <ul class="flow apart" data-kind="flow">
        <li data-id="lag"><span class="name">Messages behind</span><span class="value"><${Figure} metric="lag" value=${lagged(status)} /></span></li>
        <li data-id="waits"><span class="name">Oldest of them waits</span><span class="value"><${Figure} metric="waits_seconds" value=${waits(status)} reason=${status.kafka.problem ? "no_answer" : "nothing_waits"} /></span></li>
        <li data-id="latency"><span class="name">Answer to visible, 99${"\u00a0"}%</span><span class="value">${latency(status)}</span></li></ul>
    <//>
    <${Card} title="Services">
      <div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
        <thead><tr><th scope="col">Service</th><th scope="col">State</th><th scope="col" class="number">Memory</th>${latencies.map(([name]) => html`<th scope="col" class="number" key=${name}>${name}, median / 99 %</th>`)}</tr></thead>
        <tbody>${services(status).map(([name, held]) => html`<tr key=${name} data-id=${name} data-kind="service">
          <th scope="row">${name}</th><td><span class=${`badge ${held.readiness === "ready" ? "good" : "bad"}`}>${held.readiness}</span></td>
          <td class="number"><${Figure} metric="memory_bytes" value=${held.memory_bytes} reason="no_answer" /></td>
          ${latencies.map(([, key]) => html`<td class="number" key=${key}>${held[key] ? html`<${Bound} of=${key} part="p50" held=${held[key]} /> / <${Bound} of=${key} part="p99" held=${held[key]} />` : ""}</td>`)}
        </tr>`)}</tbody></table></div>
    <//>
    <div class="columns">
    <${Card} title="Lag by partition" note="Messages that the aggregator has not acknowledged.">
      ${status.kafka.problem && html`<p class="notice bad">${status.kafka.problem}</p>`}
      <div class="scroll" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th scope="col">Topic</th>${numbers.map((number) => html`<th scope="col" class="number" key=${number}>${number}</th>`)}</tr></thead>
        <tbody>${[...lagBy].map(([topic, entries]) => html`<tr key=${topic} data-id=${topic} data-kind="lag"><th scope="row"><code>${topic}</code></th>
          ${numbers.map((number) => {
            const entry = entries.find((one) => one.partition === number);
            return html`<td class="number" key=${number} data-id=${`${topic}/${number}`} title=${entry ? `${entry.committed ?? "none"} of ${entry.end} acknowledged${entry.waits_seconds === null ? "" : `; the oldest waits for ${duration(entry.waits_seconds)}`}` : null}>
              ${entry && html`<${Figure} metric="lag" value=${entry.lag} />`}</td>`;
          })}</tr>`)}</tbody></table></div>
    <//>
    <${Card} title="Owners of partitions">
      ${Object.entries(status.kafka.owners).map(([name, members]) => html`<div key=${name}><h3><code>${name}</code></h3>
        <ul class="plain">${Object.keys(members).length ? Object.entries(members).map(([member, numbers]) => html`<li key=${member}>${member}: <span class="quiet">${numbers.length ? numbers.join(", ") : "none"}</span></li>`) : html`<li class="quiet">nobody</li>`}</ul><br /></div>`)}
    <//>
    </div>
    <${Card} title="ClickHouse" note=${status.clickhouse.memory_bytes !== null && html`<span data-id="clickhouse" data-kind="engine">Memory <${Figure} metric="memory_bytes" value=${status.clickhouse.memory_bytes} />, free disk <${Figure} metric="free_bytes" value=${status.clickhouse.free_bytes} reason="no_answer" />.</span>`}>
      ${status.clickhouse.problem && html`<p class="notice bad">${status.clickhouse.problem}</p>`}
      <div class="scroll" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th scope="col">Table</th><th scope="col" class="number">Rows</th><th scope="col" class="number">Parts</th><th scope="col" class="number">Disk</th></tr></thead>
        <tbody>${status.clickhouse.tables.map((table) => html`<tr key=${table.name} data-id=${table.name} data-kind="table"><th scope="row"><code>${table.name}</code></th>
          ${["rows", "parts", "disk_bytes"].map((key) => html`<td class="number" key=${key}><${Figure} metric=${key} value=${table[key]} /></td>`)}</tr>`)}</tbody></table></div>
    <//>
  `;
}

// The end-to-end latency of the slowest service that tells it.
function latency(status) {
  const told = services(status).map(([, held]) => held.event_latency_seconds?.p99).filter((value) => value !== undefined);
  if (!told.length) return html`<${Figure} metric="event_latency_seconds.p99" value=${null} reason="no_answer" />`;
  return html`<${Bound} of="event_latency_seconds" part="p99" held=${{ p99: told.includes(null) ? null : greatest(told) }} />`;
}

// Bounds of histograms: infinity comes as null.
function Bound({ of, part, held }) {
  const value = held[part];
  const text = value === null ? "beyond" : `≤ ${Number(value) < 1 ? `${Math.round(Number(value) * 1000)} ms` : duration(value)}`;
  return html`<${Figure} metric=${`${of}.${part}`} value=${value} reason="beyond" text=${text} />`;
}

// Figures by name, each as the API's own field; the words for each are of its kind.
const Parts = ({ field, values, words }) => Object.entries(values).map(([name, value], number) =>
  html`${number > 0 && ", "}${words(name, html`<${Figure} metric=${`${field}.${name}`} value=${value} text=${field.endsWith("_seconds") ? duration(value) : null} />`)}`);

function group(entries) {
  const found = new Map();
  for (const entry of entries) found.set(entry.topic, [...(found.get(entry.topic) ?? []), entry]);
  return found;
}

function Platforms({ status, notices }) {
  const columns = [["targets", "Targets"], ["due", "Due"], ["overdue", "Overdue"], ["stale", "Stale"], ["in_flight", "In flight"]];
  const held = platforms(status);
  const refused = refusedShapes(status);
  return html`
    <${Title} text="Platforms" />
    ${notices}
    ${!held.length && html`<${Empty} title="No platform is asked yet">A poller shows a platform here once it has targets there.<//>`}
    ${held.length > 0 && html`<${Card} title="Polling" note="Stale: the last snapshot is older than the interval of the target's age; freshness: the stalest, in such intervals.">
      <div class="scroll" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th scope="col">Platform</th>${columns.map(([, name]) => html`<th scope="col" class="number" key=${name}>${name}</th>`)}<th scope="col" class="number">Freshness</th><th scope="col" class="number">Calls a second</th><th scope="col">Errors since start</th><th scope="col">Budget</th></tr></thead>
      <tbody>${held.flatMap(([name, pollers]) => pollers.map((one, number) => html`<tr key=${`${name}${number}`} data-id=${name} data-kind="platform">
        <th scope="row"><${Platform} name=${name} /></th>
        ${columns.map(([key]) => html`<td class="number" key=${key}><${Figure} metric=${key} value=${one[key]} /></td>`)}
        <td class="number"><${Figure} metric="freshness" value=${one.freshness} class=${Number(one.freshness) > 1 ? "late" : ""} /></td>
        <td class="number"><${Figure} metric="calls_per_second" value=${one.calls_per_second} reason="no_answer" /></td>
        <td>${Object.keys(one.errors).length ? html`<${Parts} field="errors" values=${one.errors} words=${(kind, count) => html`${kind} ${count}`} />` : html`<span class="quiet">none</span>`}</td>
        <td class="wide"><${Budget} of=${one} /></td>
      </tr>`))}</tbody></table></div>
    <//>`}
    ${held.some(([, pollers]) => pollers.some((one) => one.spent_usd !== undefined)) && html`<${Card} title="Money" note="This UTC month, by the prices in TIDEMARK_X_PRICES.">
      <div class="scroll" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th scope="col">Platform</th><th scope="col" class="number">Spent</th><th scope="col" class="number">Forecast</th><th scope="col" class="number">Left</th><th scope="col" class="number">Workspaces that spent most</th></tr></thead>
      <tbody>${held.flatMap(([name, pollers]) => pollers.filter((one) => one.spent_usd !== undefined).slice(0, 1).map((one) => html`<tr key=${name} data-id=${name} data-kind="money"><th scope="row"><${Platform} name=${name} /></th>
        ${["spent_usd", "spending_forecast_usd", "money_left_usd"].map((key) => html`<td class="number" key=${key}><${Figure} metric=${key} value=${one[key]} reason=${key === "money_left_usd" ? "no_budget" : "no_answer"} /></td>`)}
        <td class="number">${spenders(pollers).map(([workspace, usd]) => html`<div key=${workspace} data-id=${workspace} data-kind="spent"><span class="quiet"><bdi>${workspace}</bdi></span> <${Figure} metric="spent_usd" value=${usd} /></div>`)}</td></tr>`))}</tbody></table></div>
    <//>`}
    <${Card} title="Refused calls" note="Kinds of calls that a platform refuses of most channels.">
      ${refused.length ? html`<ul class="plain">${refused.map((one) => html`<li key=${one.platform + one.shape} data-id=${`${one.platform}/${one.shape}/${one.outcome}`} data-kind="refused"><${Platform} name=${one.platform} /> refuses <code>${one.shape}</code> of <${Counted} metric="channels" value=${one.channels} one="channel" /> since <${Ago} at=${one.since} />: ${one.outcome}<br /><span class="quiet"><bdi>${one.detail}</bdi></span></li>`)}</ul>`
      : html`<${Empty} title="Nothing is refused">Every kind of call is answered.<//>`}
    <//>`;
}

// What is left of a platform's budget, by group of calls.
function Budget({ of: one }) {
  const parts = [
    Object.keys(one.budget_left).length > 0 && html`<${Parts} field="budget_left" values=${one.budget_left} words=${(kind, count) => html`${kind} ${count} left`} />`,
    Object.keys(one.budget_closed_seconds).length > 0 && html`<${Parts} field="budget_closed_seconds" values=${one.budget_closed_seconds} words=${(kind, wait) => html`${kind} closed for ${wait}`} />`,
    Number(one.tokens_waiting) > 0 && html`<${Counted} metric="tokens_waiting" value=${one.tokens_waiting} one="token waits" many="tokens wait" />`,
  ].filter(Boolean);
  return parts.length ? parts.map((part, number) => html`${number > 0 && ", "}${part}`) : html`<span class="quiet">no limit known</span>`;
}

function Accounts({ accounts, errors, notices }) {
  if (!accounts) return html`<${Title} text="Accounts" />${notices}${!errors.accounts && html`<${Loading} />`}`;
  return html`
    <${Title} text="Accounts"><p class="quiet" data-id="all" data-kind="accounts"><${Parts} field="by_status" values=${accounts.by_status} words=${(status, count) => html`${STATUSES[status]?.[0] ?? status}: ${count}`} />, in <${Counted} metric="workspaces" value=${accounts.workspaces} one="workspace" /></p><//>
    ${notices}
    <${Card} title="To be reconnected" note=${Number(accounts.waiting) > accounts.data.length && html`<span data-id="all" data-kind="accounts">Those that have waited longest, of <${Figure} metric="waiting" value=${accounts.waiting} />.</span>`}>
    ${accounts.data.length ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th scope="col">Workspace</th><th scope="col">Account</th><th scope="col">State</th><th scope="col">Since</th></tr></thead>
      <tbody>${accounts.data.map((one) => html`<tr key=${`${one.workspace_id}/${one.channel_id}`} data-id=${`${one.workspace_id}/${one.channel_id}`}>
        <th scope="row"><bdi>${one.workspace_id}</bdi></th><td><${Platform} name=${one.platform} /> <${Name} of=${one} /></td>
        <td><span class="badge warn">${STATUSES[one.status]?.[0] ?? one.status}</span></td><td class="quiet"><${Ago} at=${one.updated_at} /></td></tr>`)}</tbody></table></div>`
    : html`<${Empty} title="No account waits">Every connection works, or was switched off.<//>`}
    <//>`;
}

const READ = { status: "The status", accounts: "The list of accounts", letters: "The dead letters" };

function Operations({ isFresh, onSignOut }) {
  const held = useParameters();
  const [tick, set] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && set((count) => count + 1), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  const looked = useAnswers(session, { status: "/admin/v1/status", accounts: "/admin/v1/accounts" }, tick);
  // Reading the topics of dead letters takes more than a look at the services.
  const read = useAnswers(session, { letters: "/admin/v1/dead-letters" }, Math.floor(tick / LOOKS_PER_LETTERS));
  const view = LINKS.some(([name]) => name === held.view) ? held.view : "health";
  const { data } = looked;
  // The view of dead letters reads them itself.
  const errors = { ...looked.errors, ...(view === "health" ? read.errors : {}) };
  // What is wrong with all of them is said once.
  const said = new Map(Object.entries(errors).map(([name, error]) => [`${error.status === 503 ? name : ""}${error.status}${error.message}`, [name, error]]));
  const notices = [...said.values()].map(([name, error]) => html`<${Problem} key=${name} error=${error} what=${READ[name]} />`);
  useTitle(nameOf(view), "Tidemark operations");
  const readAt = looked.times.status;
  // A server that is frozen takes the question and does not answer. Looks are counted, as a page that nobody sees has none.
  const answered = useRef({ readAt, tick });
  if (answered.current.readAt !== readAt) answered.current = { readAt, tick };
  const isSilent = tick - answered.current.tick >= SILENT_LOOKS;
  const shared = { session, status: data.status, accounts: data.accounts, letters: read.data.letters, errors, notices, isOld: isSilent || Boolean(errors.status), readAt };
  const View = { health: Health, platforms: Platforms, accounts: Accounts, "dead-letters": DeadLetters }[view];
  return html`<${Frame} links=${LINKS} current=${view} place=${placeOf({ view })} isFresh=${isFresh} onSignOut=${onSignOut}>
    ${data.status || ["accounts", "dead-letters"].includes(view) ? html`<${View} ...${shared} />` : html`<${Title} text=${nameOf(view)} />${notices}${!errors.status && html`<${Loading} lines=${8} />`}`}
  <//>`;
}

function App() {
  const [key, keep] = useState(session.key);
  const [refused, say] = useState(null);
  const isFresh = useRef(false);
  useEffect(() => {
    session.onRefused = () => {
      if (session.key === null) return;
      session.key = null;
      say("The admin key does not work any more. Sign in again.");
      keep(null);
    };
  }, []);
  if (!key) {
    return html`<${SignIn} title="Operations" note="Sign in with the installation's admin key." field="Admin key" refused=${refused}
      check=${async (text) => {
        session.key = text;
        try {
          await session.get("/admin/v1/accounts");
        } catch (error) {
          // Where the server can't tell, the key is not refused; what else is wrong, the views say.
          if (error.status !== 0 && error.status !== 429 && error.status < 500) {
            session.key = null;
            throw error;
          }
        }
        isFresh.current = true;
        say(null);
        keep(text);
      }} />`;
  }
  const signOut = () => {
    session.key = null;
    say(null);
    keep(null);
  };
  return html`<${Operations} key=${key} isFresh=${isFresh.current} onSignOut=${signOut} />`;
}

followLinks();
render(html`<${App} />`, document.getElementById("root"));
