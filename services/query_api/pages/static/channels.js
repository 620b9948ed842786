// Connected accounts: their own figures, and the totals of their windows with the source of each.
import { addressWith } from "./address.js";
import { useAnswers, withQuery } from "./api.js";
import { TimeChart } from "./chart.js";
import { exact } from "./digits.js";
import { Ago, Button, Card, Choice, Due, Empty, Figure, Fresh, Loading, Name, NO_CHANNEL, Platform, Problems, Title, useTitle, Waiting } from "./parts.js";
import { SpanBar, spanOf } from "./span.js";
import { html, useState } from "./view.js";
import { fewWords, label, STATUSES, when } from "./words.js";

const OWN = ["followers", "following", "posts_count", "views", "impressions", "reach", "profile_views", "engagements", "likes", "comments", "shares", "saves", "watch_time_seconds"];
const LISTED = ["followers", "following", "posts_count", "reach", "profile_views"];
const RANGES = { "24h": "24 hours", "7d": "7 days", "28d": "28 days" };
const WINDOWS = Object.keys(RANGES);
const SHOWN = ["views", "impressions", "reach", "engagements", "engagement_rate", "likes", "comments", "shares", "saves", "clicks", "watch_time_seconds", "followers", "profile_views"];
const HISTORY = ["followers", "following", "posts_count"];
const EVENTS = {
  "account.token_expired": ["warn", "The connection broke"],
  "account.disabled": ["bad", "The platform closed the account"],
  "account.hidden": ["warn", "All posts were hidden"],
  "account.recovered": ["good", "The connection works again"],
};
const SOURCES = { channel: ["platform", "The platform's own total of this window."], posts: ["posts", "Added up over the posts published in this window."], mixed: ["both", "Partly the platform's, partly added up over posts."] };
const METRICS = [["followers", "Followers"], ["views", "Views"], ["impressions", "Impressions"], ["engagements", "Engagements"]];

export function Status({ status }) {
  const [text] = STATUSES[status] ?? [status];
  return html`<span class=${`badge ${status === "active" ? "good" : "warn"}`}>${text}</span>`;
}

export function Channels({ session, held, tick, channels, isLoading, listErrors }) {
  if (held.channel) return html`<${Channel} session=${session} held=${held} tick=${tick} id=${held.channel} />`;
  return html`
    <${Title} text="Channels" />
    <${Problems} errors=${listErrors} />
    ${isLoading && !channels.length && html`<${Loading} lines=${6} />`}
    ${channels.length > 0 && html`<div class="scroll card" tabindex="0" role="group" aria-label="Table"><table data-endpoint="channels">
      <thead><tr><th scope="col">Account</th><th scope="col">State</th>${LISTED.map((name) => html`<th scope="col" class="number" key=${name}>${label(name)}</th>`)}<th scope="col">As of</th><th scope="col">Next poll</th></tr></thead>
      <tbody>${channels.map((one) => html`<tr key=${one.id} data-id=${one.id} data-kind="channel">
        <th scope="row"><a href=${addressWith({ channel: one.id })}><${Platform} name=${one.platform} /> <${Name} of=${one} /></a></th>
        <td><${Status} status=${one.status} /></td>
        ${LISTED.map((name) => html`<td class="number" key=${name}><${Figure} metric=${name} value=${one.metrics[name]} reason=${one.reasons[name]} /></td>`)}
        <td class="quiet"><${Ago} at=${one.captured_at} /></td>
        <td class="quiet">${one.next_poll_at ? html`<${Due} at=${one.next_poll_at} />` : "none"}</td>
      </tr>`)}</tbody>
    </table></div>`}
  `;
}

function Channel({ session, held, tick, id }) {
  const span = spanOf(held);
  const of = `/tidemark/v1/channels/${encodeURIComponent(id)}`;
  const metric = METRICS.some(([name]) => name === held.metric) ? held.metric : "followers";
  const { data, errors } = useAnswers(
    session,
    {
      channel: of,
      ...Object.fromEntries(WINDOWS.map((range) => [range, withQuery(`${of}/windows`, { range })])),
      history: withQuery(`${of}/series`, { metrics: HISTORY.join(), source: "channel", mode: "cumulative", from: span.from, to: span.to, tz: span.zone, step: span.step }),
      changes: withQuery(`${of}/series`, { metrics: "followers", source: "channel", mode: "increments", from: span.from, to: span.to, tz: span.zone, step: span.step }),
      events: `${of}/events`,
      series: withQuery(`${of}/series`, { metrics: metric, from: span.from, to: span.to, tz: span.zone, step: span.step }),
    },
    tick,
  );
  const channel = data.channel;
  useTitle(channel ? channel.username || channel.id : "Channel");
  // A platform reports few of the figures; columns of the others would push these out of sight.
  const told = OWN.filter((name) => channel?.periods.some((period) => (period.metrics[name] ?? null) !== null));
  return html`
    <p class="back"><a href=${addressWith({ channel: null, metric: null })}>← All channels</a></p>
    <${Title} text=${channel ? html`<${Platform} name=${channel.platform} /> <${Name} of=${channel} />` : "Channel"}>${channel && html`<${Fresh} of=${channel} />`}<//>
    <${Problems} errors=${errors} missing=${NO_CHANNEL} />
    ${!channel && !errors.channel && html`<${Loading} lines=${6} />`}
    ${channel && html`
      ${channel.status !== "active" && html`<div class="notice bad"><strong>${STATUSES[channel.status]?.[0] ?? channel.status}.</strong> ${STATUSES[channel.status]?.[1]}</div>`}
      <${Card} title="The account's own figures">
        <dl class="totals" data-id=${channel.id} data-kind="channel">${OWN.map((name) => html`<div key=${name}>
          <dt>${label(name)}</dt><dd><${Figure} metric=${name} value=${channel.metrics[name]} reason=${channel.reasons[name]} />
            ${channel.metrics[name] === null && html`<span class="why">${fewWords(channel.reasons[name])}</span>`}</dd></div>`)}</dl>
      <//>
      <${Card} title="${label(metric)} over time" actions=${html`<${Choice} name="metric" label="Figure" chosen=${metric} options=${METRICS} />`}>
        <${SpanBar} held=${held} span=${span} channels=${[]} hasChannel=${false} />
        ${data.series ? html`<${TimeChart} points=${data.series.points} metrics=${[metric]} zone=${span.zone} title=${`${label(metric)} over time`} />` : html`<${Waiting} error=${errors.series} />`}
      <//>
      <${Card} title="Account history" note=${`The account's own figures at the end of each ${span.step} of this range, as the platform told them.`}>
        ${data.history && data.changes ? html`<${History} points=${data.history.points} changes=${data.changes.points} span=${span} />` : html`<${Waiting} error=${errors.history ?? errors.changes} />`}
      <//>
      <${Card} title="Trailing windows" note="The totals that products show. Each says whether the platform reported it, or it was added up over posts.">
        <div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr><th scope="col">Figure</th>${WINDOWS.map((range) => html`<th scope="col" class="number" key=${range}>${RANGES[range]}</th>`)}</tr></thead>
          <tbody>${SHOWN.map((name) => html`<tr key=${name} data-id=${name}>
            <th scope="row">${label(name)}</th>
            ${WINDOWS.map((range) => {
              const window = data[range];
              if (!window) return html`<td key=${range}></td>`;
              const [text, title] = SOURCES[window.sources[name]] ?? [];
              return html`<td class="number" key=${range} data-kind=${`window-${range}`}><${Figure} metric=${name} value=${window.metrics[name]} reason="no_answer" />
                 <span class="source" title=${title}>${text ?? ""}</span></td>`;
            })}
          </tr>`)}</tbody>
        </table></div>
      <//>
      <${Card} title="What the platform reported" note="The latest period of each kind and length.">
        ${channel.periods.length ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr><th scope="col">Period</th>${told.map((name) => html`<th scope="col" class="number" key=${name}>${label(name)}</th>`)}</tr></thead>
          <tbody>${channel.periods.map((period, number) => html`<tr key=${number} data-id=${String(number)} data-kind="period">
            <th scope="row">${period.period === "lifetime" ? "In all" : `${when(period.period_start, span.zone, { dateStyle: "medium" })} to ${when(period.period_end, span.zone, { dateStyle: "medium" })}`}<br /><span class="quiet small">answered <${Ago} at=${period.captured_at} /></span></th>
            ${told.map((name) => html`<td class="number" key=${name}><${Figure} metric=${name} value=${period.metrics[name]} reason="no_answer" short /></td>`)}
          </tr>`)}</tbody>
        </table></div>` : html`<${Empty} title="No answer yet">The account's own figures come with its first poll.<//>`}
      <//>
      <${Card} title="Connection history" note="What happened to the connection in the last 30 days.">
        ${data.events ? html`<${Events} events=${data.events.data} zone=${span.zone} />` : html`<${Waiting} error=${errors.events} lines=${2} />`}
      <//>
      <${Health} session=${session} id=${channel.id} />`}
  `;
}

// Buckets in which something is known, the latest first.
function History({ points, changes, span }) {
  const rows = points
    .map((point, place) => ({ point, change: changes[place]?.followers ?? null }))
    .filter(({ point }) => HISTORY.some((name) => (point[name] ?? null) !== null))
    .reverse();
  if (!rows.length) return html`<${Empty} title="Nothing known in this range">The account's figures come with its polls; choose a longer range.<//>`;
  const shown = span.step === "hour" ? { dateStyle: "medium", timeStyle: "short" } : { dateStyle: "medium" };
  return html`<div class="scroll tall" tabindex="0" role="group" aria-label="Table"><table>
    <thead><tr><th scope="col">${span.step === "hour" ? "Hour from" : "Day"}</th><th scope="col" class="number">Followers</th><th scope="col" class="number">Followers gained</th>
      ${HISTORY.slice(1).map((name) => html`<th scope="col" class="number" key=${name}>${label(name)}</th>`)}</tr></thead>
    <tbody>${rows.map(({ point, change }) => html`<tr key=${point.start} data-id=${point.start} data-kind="history">
      <th scope="row">${when(point.start, span.zone, shown)}</th>
      <td class="number"><${Figure} metric="followers" value=${point.followers} reason="no_answer" /></td>
      <td class="number" data-id=${point.start} data-kind="gained"><${Figure} metric="followers" value=${change} reason="no_answer" isSigned /></td>
      ${HISTORY.slice(1).map((name) => html`<td class="number" key=${name}><${Figure} metric=${name} value=${point[name]} reason="no_answer" /></td>`)}
    </tr>`)}</tbody></table></div>`;
}

function Events({ events, zone }) {
  if (!events.length) return html`<${Empty} title="Nothing happened">The connection neither broke nor came back.<//>`;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
    <thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Reason</th></tr></thead>
    <tbody>${events.map((one, number) => {
      const [tone, text] = EVENTS[one.type] ?? ["warn", one.type];
      return html`<tr key=${`${one.occurred_at}${number}`} data-id=${one.occurred_at} data-kind="event">
        <th scope="row">${when(one.occurred_at, zone)}</th>
        <td><span class=${`badge ${tone}`}>${text}</span></td>
        <td class="quiet">${one.reason ? label(one.reason) : ""}</td></tr>`;
    })}</tbody></table></div>`;
}

// Asks the platform itself, so only when a person wants it.
function Health({ session, id }) {
  const [held, hold] = useState({});
  const ask = async () => {
    hold({ isAsking: true });
    try {
      hold({ answer: await session.get(`/api/v1/social-accounts/${encodeURIComponent(id)}/health`) });
    } catch (error) {
      hold({ error });
    }
  };
  return html`<${Card} title="Connection" note="Asks the platform whether the connection works.">
    <${Button} onClick=${ask} isOff=${held.isAsking}>${held.isAsking ? "Asking" : "Check now"}<//>
    ${held.error && html`<${Problems} errors=${{ held: held.error }} />`}
    ${held.answer && html`<dl class="event" role="status">${Object.entries(held.answer)
      .filter(([, value]) => value === null || typeof value !== "object" || value instanceof Number)
      .map(([name, value]) => html`<dt key=${name}>${label(name)}</dt><dd>${value === null ? "–" : exact(value)}</dd>`)}</dl>`}
  <//>`;
}
