// When posts do best, how they age, and what is out of the ordinary.
import { addressWith, go } from "./address.js";
import { useAnswers, withQuery } from "./api.js";
import { Ago, Card, Counted, Empty, Figure, Loading, Name, NO_CHOSEN, Problems, Select, Title } from "./parts.js";
import { chosenOf } from "./picker.js";
import { textOf } from "./posts.js";
import { SpanBar, spanOf } from "./span.js";
import { html } from "./view.js";
import { counted, duration, label, platformName, weekdayName, when } from "./words.js";

const METRICS = ["engagements", "likes", "comments", "shares", "saves", "views", "impressions", "reach", "clicks", "video_views"];
const HOUR_SECONDS = 3_600;

function useInsight(name, { session, held, tick }, more = {}) {
  const span = spanOf(held, "90d");
  const metric = METRICS.includes(held.metric) ? held.metric : "engagements";
  const asked = { metric, from: span.from, to: span.to, tz: span.zone, channel_ids: chosenOf(held).join(), ...more };
  const answers = useAnswers(session, { found: withQuery(`/tidemark/v1/insights/${name}`, asked) }, tick);
  return { span, metric, found: answers.data.found, errors: answers.errors };
}

function Bar({ held, span, metric, channels, children }) {
  return html`<${SpanBar} held=${{ ...held, range: span.range }} span=${span} channels=${channels}>
    <${Select} label="Figure" isHidden value=${metric} onChange=${(value, how) => go(addressWith({ metric: value }), how)} options=${METRICS.map((name) => [name, label(name)])} />
    ${children}
  <//>`;
}

function step(score) {
  const number = Number(score);
  return number >= 2 ? 6 : number >= 1.4 ? 5 : number >= 1.1 ? 4 : number >= 0.9 ? 3 : number >= 0.7 ? 2 : 1;
}

export function BestTimes(props) {
  const ages = [["6", "at 6 hours"], ["24", "at 24 hours"], ["168", "at 7 days"]];
  const age = ages.some(([value]) => value === props.held.age) ? props.held.age : "24";
  const { span, metric, found, errors } = useInsight("best-times", props, { age_hours: age });
  const days = found ? [1, 2, 3, 4, 5, 6, 7].map((day) => found.cells.filter((cell) => cell.weekday === day)) : [];
  const best = found?.cells.filter((cell) => cell.score !== null).sort((a, b) => Number(b.score) - Number(a.score)).slice(0, 3) ?? [];
  return html`
    <${Title} text="Best times" />
    <${Bar} held=${props.held} span=${span} metric=${metric} channels=${props.channels}>
      <${Select} label="Age" isHidden value=${age} options=${ages} onChange=${(value, how) => go(addressWith({ age: value }), how)} />
    <//>
    <${Problems} errors=${errors} missing=${chosenOf(props.held).length ? NO_CHOSEN : null} />
    ${!found && !errors.found && html`<${Loading} lines=${8} />`}
    ${found && html`<${Card} title=${best.length ? `Best: ${best.map((cell) => `${weekdayName(cell.weekday, "long")} ${cell.hour}:00`).join(", ")}` : "Too few posts for a best time"}
      note=${html`<span data-id="minimum" data-kind="insight">What posts of each hour had, against their channel's usual at the same age; 1× is as usual. An hour needs <${Counted} metric="minimum.cell_posts" value=${found.minimum.cell_posts} one="post" />, a channel <${Figure} metric="minimum.channel_targets" value=${found.minimum.channel_targets} />. Times in ${found.tz}.</span>`}>
      <div class="scroll" tabindex="0" role="group" aria-label="Table"><table class="heat">
        <thead><tr><th scope="col"><span class="hidden">Day</span></th>${Array.from({ length: 24 }, (_, hour) => html`<th scope="col" key=${hour}>${hour}</th>`)}</tr></thead>
        <tbody>${days.map((cells) => html`<tr key=${cells[0].weekday} data-id=${String(cells[0].weekday)}>
          <th scope="row">${weekdayName(cells[0].weekday)}</th>
          ${cells.map((cell) => html`<td key=${cell.hour} data-id=${`${cell.weekday}-${cell.hour}`} data-kind="cell"
            class=${cell.score === null ? (cell.posts ? "few" : "none") : `heat-${step(cell.score)}`}
            title=${`${weekdayName(cell.weekday, "long")} ${cell.hour}:00: ${counted(cell.posts, "post")}`}>
            <${Figure} metric="score" value=${cell.score} reason="too_few" /></td>`)}
        </tr>`)}</tbody>
      </table></div>
    <//>`}
  `;
}

export function Decay(props) {
  const bases = [["3", "3 days = 100 %"], ["7", "7 days = 100 %"], ["28", "28 days = 100 %"]];
  const base = bases.some(([value]) => value === props.held.base) ? props.held.base : "28";
  const { span, metric, found, errors } = useInsight("decay", props, { base_days: base });
  const known = found?.ages.filter((one) => one.share !== null) ?? [];
  return html`
    <${Title} text="Decay" />
    <${Bar} held=${props.held} span=${span} metric=${metric} channels=${props.channels}>
      <${Select} label="Whole" isHidden value=${base} options=${bases} onChange=${(value, how) => go(addressWith({ base: value }), how)} />
    <//>
    <${Problems} errors=${errors} missing=${chosenOf(props.held).length ? NO_CHOSEN : null} />
    ${!found && !errors.found && html`<${Loading} lines=${5} />`}
    ${found && html`<${Card} title=${html`<span data-id="minimum" data-kind="insight">Share reached of what posts have after <${Counted} metric="base_days" value=${found.base_days} one="day" /></span>`}
      note=${html`<span data-id="minimum" data-kind="insight">The median over posts that are old enough; an age needs <${Figure} metric="minimum.targets" value=${found.minimum.targets} /> of them.</span>`}>
      ${known.length === 0 && html`<${Empty} title="No post is old enough yet">Posts count once they are that old and were polled until then.<//>`}
      <div class="scroll" tabindex="0" role="group" aria-label="Table"><table class="decay">
        <thead><tr><th scope="col">Age</th><th scope="col">Share reached</th><th scope="col" class="number">Posts</th></tr></thead>
        <tbody>${found.ages.map((one) => html`<tr key=${one.age_hours} data-id=${String(one.age_hours)} data-kind="age">
          <th scope="row">${duration(one.age_hours * HOUR_SECONDS)}</th>
          <td class="reached"><meter min="0" max="1" value=${Number(one.share ?? 0)} aria-hidden="true"></meter> <${Figure} metric="share" value=${one.share} reason="too_few" /></td>
          <td class="number"><${Figure} metric="posts" value=${one.posts} /></td>
        </tr>`)}</tbody>
      </table></div>
    <//>`}
  `;
}

export function Unusual(props) {
  const { span, metric, found, errors } = useInsight("unusual", props, { limit: 25 });
  const known = new Map(props.channels.map((one) => [one.id, one]));
  const channel = ({ channel_id: id }) => known.has(id) ? html`${platformName(known.get(id).platform)} <${Name} of=${known.get(id)} />` : id;
  const ids = [...new Set(["posts", "falls", "late"].flatMap((kind) => (found?.[kind] ?? []).map((one) => one.post_id)))];
  const { data } = useAnswers(props.session, ids.length ? { posts: withQuery("/tidemark/v1/posts", { ids: ids.join() }) } : {});
  const texts = new Map((data.posts?.data ?? []).map((one) => [one.id, textOf(one)]));
  const post = (one) => html`<a href=${addressWith({ view: "posts", post: one.post_id })}><bdi>${texts.get(one.post_id) || one.post_id}</bdi></a><br />
    <span class="quiet small">${channel(one)}${texts.get(one.post_id) ? ` · ${one.post_id}` : ""}</span>`;
  return html`
    <${Title} text="Unusual" />
    <${Bar} held=${props.held} span=${span} metric=${metric} channels=${props.channels} />
    <${Problems} errors=${errors} missing=${chosenOf(props.held).length ? NO_CHOSEN : null} />
    ${!found && !errors.found && html`<${Loading} lines=${6} />`}
    ${found && html`
      <${Card} title="Far from usual" note=${html`<span data-id="minimum" data-kind="insight">At least <${Figure} metric="factor" value=${found.factor} /> times what the channel's posts usually have at the same age, or at most one part in as many.</span>`}>
        ${found.posts.length ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr><th scope="col">Post</th><th scope="col">Published</th><th scope="col">At the age of</th><th scope="col" class="number">${label(metric)}</th><th scope="col" class="number">Usual</th><th scope="col" class="number">Against usual</th><th scope="col" class="number">Posts compared</th></tr></thead>
          <tbody>${found.posts.map((one) => html`<tr key=${one.target_id} data-id=${one.target_id} data-kind="unusual">
            <th scope="row">${post(one)}</th><td class="quiet">${when(one.published_at, span.zone)}</td><td>${duration(one.age_hours * HOUR_SECONDS)}</td>
            <td class="number"><${Figure} metric="value" value=${one.value} /></td><td class="number"><${Figure} metric="usual" value=${one.usual} /></td>
            <td class="number"><span class=${`change ${one.direction === "above" ? "up" : "down"}`}><${Figure} metric="ratio" value=${one.ratio} /></span></td>
            <td class="number"><${Figure} metric="targets" value=${one.targets} /></td></tr>`)}</tbody></table></div>`
        : html`<${Empty} title="Nothing is far from usual">A post is compared once its channel has <span data-id="minimum" data-kind="insight"><${Counted} metric="minimum.channel_targets" value=${found.minimum.channel_targets} one="post" /></span> with figures at the same age.<//>`}
      <//>
      <${Card} title="Counters that fell" note="Platforms correct counts downwards; growth counted earlier is not taken back.">
        ${found.falls.length ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr><th scope="col">Post</th><th scope="col">Figure</th><th scope="col" class="number">Before</th><th scope="col" class="number">After</th><th scope="col">Answered</th></tr></thead>
          <tbody>${found.falls.map((one) => html`<tr key=${`${one.event_id}/${one.target_id}/${one.metric}`} data-id=${`${one.event_id}/${one.target_id}/${one.metric}`} data-kind="fall">
            <th scope="row">${post(one)}</th><td>${label(one.metric)}</td><td class="number"><${Figure} metric="before" value=${one.before} /></td>
            <td class="number"><${Figure} metric="value" value=${one.value} /></td><td class="quiet">${when(one.captured_at, span.zone)}</td></tr>`)}</tbody></table></div>`
        : html`<${Empty} title="No counter fell">Every count in this range stayed or grew.<//>`}
      <//>
      <${Card} title="Late polls" note="Polls that are late by more than their interval, whenever the post was published.">
        ${found.late.length ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr><th scope="col">Post</th><th scope="col">Every</th><th scope="col">Last answer</th><th scope="col">Was due</th><th scope="col" class="number">Late by</th></tr></thead>
          <tbody>${found.late.map((one) => html`<tr key=${one.target_id} data-id=${one.target_id} data-kind="late">
            <th scope="row">${post(one)}</th><td>${one.tier}</td><td class="quiet"><${Ago} at=${one.captured_at} /></td><td class="quiet"><${Ago} at=${one.next_poll_at} /></td>
            <td class="number"><${Figure} metric="late_seconds" value=${one.late_seconds} /></td></tr>`)}</tbody></table></div>`
        : html`<${Empty} title="No poll is late">Every post was polled when it was due.<//>`}
      <//>`}
  `;
}
