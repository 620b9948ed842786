// One post: its totals, each target, its series, and where each figure comes from.
import { addressWith, wasReturned } from "./address.js";
import { useAnswers, withQuery } from "./api.js";
import { TimeChart } from "./chart.js";
import { exact, indented, member, members } from "./digits.js";
import { Ago, Card, Choice, Figure, Fresh, Loading, NO_POST, Platform, Problems, Title, useTitle, Waiting } from "./parts.js";
import { SpanBar, spanOf } from "./span.js";
import { html, useEffect, useMemo, useRef } from "./view.js";
import { fewWords, firstWords, label, reasonWords, when } from "./words.js";

const METRICS = [
  "impressions", "views", "reach", "engagements", "engagement_rate", "likes", "comments", "shares", "quotes", "saves", "clicks",
  "other_clicks", "profile_clicks", "follows", "dislikes", "video_views", "watch_time_seconds", "avg_watch_time_seconds", "poll_votes",
];
const WITHOUT_GROWTH = ["reach", "avg_watch_time_seconds"];
const TITLE = 90;
const MODES = [["cumulative", "Total"], ["increments", "Growth"]];

function safeLink(text) {
  try {
    const address = new URL(text);
    return ["https:", "http:"].includes(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

function Permalink({ text }) {
  const address = safeLink(text);
  return address && html` <a class="small" href=${address.href} target="_blank" rel="noopener noreferrer">open at <bdi>${address.host}</bdi></a>`;
}

export function Post({ session, held, tick }) {
  const span = spanOf(held);
  const id = held.post;
  const known = METRICS.includes(held.metric) ? held.metric : "engagements";
  const mode = held.mode === "increments" && !WITHOUT_GROWTH.includes(known) ? "increments" : "cumulative";
  const of = `/tidemark/v1/posts/${encodeURIComponent(id)}`;
  const { data, errors } = useAnswers(
    session,
    {
      post: of,
      series: withQuery(`${of}/series`, { metrics: known, mode, from: span.from, to: span.to, tz: span.zone, step: span.step }),
    },
    tick,
  );
  const post = data.post;
  const totals = useRef();
  const explained = useRef(held.explain);
  useTitle(post ? title(post) : "Post");
  useEffect(() => {
    // Who closes an explanation is back at its figure.
    if (!held.explain && explained.current) {
      const figure = [...(totals.current?.querySelectorAll("[data-metric]") ?? [])].find((one) => one.dataset.metric === explained.current);
      figure?.closest("a").focus({ preventScroll: wasReturned() });
    }
    explained.current = held.explain;
  }, [held.explain]);
  return html`
    <p class="back"><a href=${addressWith({ post: null, explain: null, metric: null, mode: null })}>← All posts</a></p>
    <${Title} text=${post ? html`<bdi>${title(post)}</bdi>` : "Post"}>${post && html`<${Fresh} of=${post} end="; not polled any more" />`}<//>
    <${Problems} errors=${errors} missing=${NO_POST} />
    ${!post && !errors.post && html`<${Loading} lines=${6} />`}
    ${post && html`
      <${Text} post=${post} zone=${span.zone} />
      <${Card} title="Totals" note="Summed over the channels. Choose a figure to see where it comes from.">
        <dl class="totals" data-id=${post.id} data-kind="post" ref=${totals}>${METRICS.map(
          (name) => html`<div key=${name}>
            <dt>${label(name)}</dt>
            <dd><a href=${addressWith({ explain: name, metric: name })} aria-current=${held.explain === name ? "true" : null}>
              <${Figure} metric=${name} value=${post.metrics[name]} reason=${post.reasons[name]} /></a>
              ${post.metrics[name] === null && html`<span class="why">${fewWords(post.reasons[name])}</span>`}</dd>
          </div>`,
        )}</dl>
      <//>
      ${held.explain && METRICS.includes(held.explain) && html`<${Explain} session=${session} of=${of} metric=${held.explain} zone=${span.zone} />`}
      <${Card} title=${`${label(known)} over time`} actions=${html`<${Choice} name="mode" label="Kind of series" chosen=${mode} options=${MODES} />`}>
        <${SpanBar} held=${held} span=${span} channels=${[]} hasChannel=${false} />
        ${data.series ? html`<${TimeChart} points=${data.series.points} metrics=${[known]} zone=${span.zone} areBars=${mode === "increments"} title=${`${label(known)} over time`} />` : html`<${Waiting} error=${errors.series} />`}
      <//>
      <${Card} title="Each channel">
        <div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr><th scope="col">Target</th>${METRICS.slice(0, 11).map((name) => html`<th scope="col" class="number" key=${name}>${label(name)}</th>`)}<th scope="col">As of</th></tr></thead>
          <tbody>${post.targets.map(
            (target) => html`<tr key=${target.id} data-id=${target.id} data-kind="target">
              <th scope="row"><${Platform} name=${target.platform} /> <span class="quiet small">${target.post_type || target.status}</span>
                <${Permalink} text=${target.permalink} /></th>
              ${METRICS.slice(0, 11).map((name) => html`<td class="number" key=${name}><${Figure} metric=${name} value=${target.metrics[name]} reason=${target.reasons[name]} short /></td>`)}
              <td class="quiet"><${Ago} at=${target.captured_at} /></td>
            </tr>`,
          )}</tbody>
        </table></div>
      <//>`}
  `;
}

function title(post) {
  return firstWords(post.targets.map((target) => target.content).find((text) => text?.trim()), TITLE) || `Post ${post.id}`;
}

function Text({ post, zone }) {
  const texts = [...new Set(post.targets.map((target) => target.content).filter((text) => text?.trim()))];
  const isTold = texts.length === 1 && texts[0].trim() === title(post);
  return html`<div class="facts">
    <p class="quiet">${post.published_at ? `Published ${when(post.published_at, zone)}` : `Status: ${post.status}`} · <code>${post.id}</code></p>
    ${!isTold && texts.map((text) => html`<blockquote key=${text} class="posted" dir="auto">${text}</blockquote>`)}
  </div>`;
}

// The answer in each part of an explanation, digit by digit as the API told it.
function answersOf(text) {
  return [...members(member(text, "parts"))].map(([, part]) => indented(member(part, "answer")));
}

// Whether a part before shows the same answer already: one answer often has all figures of a target.
function isShown(parts, number) {
  const { event, target_id: target, answer } = parts[number];
  if (!event || answer === null) return false;
  return parts.slice(0, number).some((one) => one.target_id === target && one.event?.event_id === event.event_id && one.answer !== null);
}

function Explain({ session, of, metric, zone }) {
  const { data, errors } = useAnswers(session, { explain: { text: withQuery(`${of}/explain`, { metric }) } });
  const place = useRef();
  useEffect(() => place.current?.focus({ preventScroll: false }), [metric]);
  const found = data.explain?.body;
  const answers = useMemo(() => (found ? answersOf(data.explain.text) : []), [found]);
  return html`<section class="card explain" ref=${place} tabindex="-1" aria-labelledby="explain">
    <header><h2 id="explain">Where it comes from: ${label(metric).toLowerCase()}</h2>
      <a href=${addressWith({ explain: null })} class="button">Close</a></header>
    <${Problems} errors=${errors} />
    ${!found && !errors.explain && html`<${Loading} />`}
    ${found && html`
      <p class="quiet">${found.rule[0].toUpperCase() + found.rule.slice(1)}.</p>
      ${found.parts.map((part, number) => html`<article key=${`${part.target_id}/${part.metric}`} class="part" data-id=${`${part.target_id}/${part.metric}`} data-kind="part">
        <h3>${label(part.metric)}: <${Figure} metric=${part.metric} value=${part.value} reason=${part.reason} /> <span class="quiet small">of target ${part.target_id}</span></h3>
        ${part.value === null && html`<p>${part.hidden ? "The answer named this figure without a value." : reasonWords(part.reason)}</p>`}
        ${part.event && isShown(found.parts, number) && html`<p class="quiet">Read from the same answer.</p>`}
        ${part.event && !isShown(found.parts, number) && html`<dl class="event">
          <dt>Answered</dt><dd>${when(part.event.captured_at, zone)}</dd>
          ${part.event.is_held
            ? html`<dt>Asked</dt><dd><code>${part.event.endpoint}</code>, status ${part.event.http_status}, ${part.event.origin?.toLowerCase()}</dd>
              <dt>Kept in Kafka</dt><dd><code>${part.event.topic}</code>, partition ${part.event.partition}, offset ${exact(part.event.offset)}</dd>`
            : html`<dt>Kept</dt><dd>no longer: the raw answer is past its retention</dd>`}
          <dt>Read by</dt><dd><code>${part.mapping.module}</code>${safeLink(part.mapping.documentation) && html`, by <a href=${safeLink(part.mapping.documentation)} target="_blank" rel="noopener noreferrer">the platform's documentation</a>`}</dd>
        </dl>`}
        ${part.answer !== null && !isShown(found.parts, number) && html`<pre tabindex="0">${answers[number]}</pre>`}
      </article>`)}`}
  </section>`;
}
