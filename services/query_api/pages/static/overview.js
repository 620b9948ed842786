// The first view: what the workspace's posts earned, against the window before.
import { addressWith } from "./address.js";
import { useAnswers, withQuery } from "./api.js";
import { TimeChart } from "./chart.js";
import { Ago, Card, Change, Choice, Due, Empty, Figure, Loading, Name, NextPoll, NO_CHOSEN, Platform, Problems, Sparkline, Title, Waiting } from "./parts.js";
import { chosenOf } from "./picker.js";
import { instantsOf, SpanBar, spanOf } from "./span.js";
import { html } from "./view.js";
import { fewWords, label, STATUSES, when } from "./words.js";
import { PostCell } from "./posts.js";

const V1 = "/tidemark/v1";
const GROWING = ["impressions", "views", "engagements", "likes", "comments", "shares", "clicks"];
// Followers are of an account, and people reached are never added up over time.
const HEADLINES = { received: [...GROWING, "followers"], published: [...GROWING, "reach"] };
const MOST_CHANNELS = 12;
const BY = [["received", "Growth received"], ["published", "Posts published"]];

export function Overview({ session, held, tick, channels, missing }) {
  const span = spanOf(held);
  const by = held.by === "published" ? "published" : "received";
  const chosen = chosenOf(held);
  const shown = chosen.length ? channels.filter((one) => chosen.includes(one.id)) : channels;
  const headlines = HEADLINES[by];
  const metric = [...GROWING, "followers"].includes(held.metric) ? held.metric : "engagements";
  const of = { channel_ids: chosen.join() };
  const asked = { from: span.from, to: span.to, tz: span.zone, ...of };
  const instants = instantsOf(span);
  const quick = useAnswers(
    session,
    {
      top: withQuery(`${V1}/top/posts`, { ...instants, metric: "engagements", limit: 5, ...of }),
      newest: withQuery(`${V1}/posts`, { limit: 20, ...of }),
    },
    tick,
  );
  // Sums over many answers keep a server's processors busy, so they follow what takes it milliseconds.
  const isFirst = quick.isLoading && !quick.data.top && !quick.errors.top;
  const summed = useAnswers(
    session,
    isFirst ? {} : {
      totals: withQuery(`${V1}/totals`, { ...asked, attribution: by, compare: "previous" }),
      series: withQuery(`${V1}/series`, { ...asked, metrics: HEADLINES.received.join(), mode: "increments", step: span.step }),
    },
    tick,
  );
  const data = { ...quick.data, ...summed.data };
  const errors = { ...quick.errors, ...summed.errors };
  const isLoading = isFirst || summed.isLoading;
  const points = data.series?.points ?? [];
  const reason = by === "received" ? "no_growth" : "no_answer";
  return html`
    <${Title} text="Overview">
      ${data.newest && html`<${Freshness} posts=${data.newest.data} channels=${shown} />`}
    <//>
    <${SpanBar} held=${held} span=${span} channels=${channels}>
      <${Choice} name="by" label="Count" chosen=${by} options=${BY} />
    <//>
    <${Problems} errors=${errors} missing=${chosen.length ? NO_CHOSEN : null} />
    ${!data.totals && isLoading && html`<${Loading} lines=${4} />`}
    ${data.totals &&
    html`<div class="tiles" data-endpoint="totals">
      ${headlines.map((name) => {
        const row = data.totals.metrics[name];
        return html`<a
          class="tile"
          data-id=${name}
          data-kind="tile"
          key=${name}
          href=${addressWith({ metric: name })}
          aria-current=${name === metric ? "true" : null}
        >
          <span class="name">${label(name)}</span>
          <span class="value"><${Figure} metric=${name} value=${row?.value} reason=${reason} short /></span>
          <${Change} value=${row?.change} />
          ${row?.value === null
            ? html`<span class="why">${fewWords(reason)}</span>`
            : html`<${Sparkline} values=${points.map((point) => point[name] ?? null)} label=${`${label(name)} over time`} />`}
        </a>`;
      })}
    </div>`}
    <${Card} title=${`${label(metric)} over time`} note=${`Growth in each ${span.step}, of all posts whenever they were published.`}>
      ${data.series && !points.some((point) => point[metric] !== null && point[metric] !== undefined)
        ? html`<${Empty} title="Nothing known here yet">Growth shows once polls of this range were answered with this figure.<//>`
        : data.series ? html`<${TimeChart} points=${points} metrics=${[metric]} zone=${span.zone} areBars title=${`${label(metric)} over time`} />` : html`<${Waiting} error=${errors.series} />`}
    <//>
    <div class="columns">
      <${Card} title="Top posts" note=${`Published in this range, by engagements${chosen.length ? " on the chosen channels; figures are of all channels" : ""}.`}>
        ${!data.top
          ? html`<${Waiting} error=${errors.top} />`
          : data.top.data.length
            ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
                <thead><tr><th scope="col">Post</th><th scope="col" class="number">Engagements</th><th scope="col" class="number">Rate</th></tr></thead>
                <tbody>${data.top.data.map(
                  (post) => html`<tr key=${post.id} data-id=${post.id} data-kind="post">
                    <td><${PostCell} post=${post} zone=${span.zone} /></td>
                    <td class="number"><${Figure} metric="engagements" value=${post.metrics.engagements} reason=${post.reasons.engagements} /></td>
                    <td class="number"><${Figure} metric="engagement_rate" value=${post.metrics.engagement_rate} reason=${post.reasons.engagement_rate} /></td>
                  </tr>`,
                )}</tbody>
              </table></div>`
            : html`<${Empty} title="No posts yet">No post of this range has engagements so far.<//>`}
      <//>
      <${Card} title="Followers" note="The latest figure of each channel.">
        ${missing ? html`<${Waiting} error=${missing.error} />` : html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
          <thead><tr><th scope="col">Channel</th><th scope="col" class="number">Followers</th><th scope="col">As of</th></tr></thead>
          <tbody>${byFollowers(shown).slice(0, MOST_CHANNELS).map(
            (one) => html`<tr key=${one.id} data-id=${one.id} data-kind="channel">
              <td><a href=${addressWith({ view: "channels", channel: one.id, cursor: null })}><${Platform} name=${one.platform} isBare /> <${Name} of=${one} /></a>
                ${one.status !== "active" && html` <span class="badge warn">${STATUSES[one.status]?.[0] ?? one.status}</span>`}</td>
              <td class="number"><${Figure} metric="followers" value=${one.metrics.followers} reason=${one.reasons.followers} /></td>
              <td class="quiet"><${Ago} at=${one.captured_at} /></td>
            </tr>`,
          )}</tbody>
        </table></div>`}
        ${shown.length > MOST_CHANNELS && html`<p><a href=${addressWith({ view: "channels" })}>All ${channels.length} channels</a></p>`}
      <//>
    </div>
  `;
}

// The greatest first; what is not known comes last.
const byFollowers = (channels) => {
  const count = (one) => Number(one.metrics.followers ?? -1);
  return [...channels].sort((one, other) => count(other) - count(one));
};

function Freshness({ posts, channels }) {
  const captured = [...posts, ...channels].map((one) => one.captured_at).filter(Boolean).sort();
  const next = [...posts, ...channels].map((one) => one.next_poll_at).filter(Boolean).sort();
  if (!captured.length) {
    return html`<p class="fresh quiet">${next.length ? html`First poll <${Due} at=${next[0]} />` : "Nothing was polled yet"}</p>`;
  }
  return html`<p class="fresh quiet" title=${when(captured.at(-1))}>
    As of <${Ago} at=${captured.at(-1)} />${next.length > 0 && html`; <${NextPoll} at=${next[0]} />`}
  </p>`;
}
