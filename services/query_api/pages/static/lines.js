// Small lines of many posts: how a figure of each came to where it is, over its first 28 days.
import { isId } from "./address.js";
import { withQuery } from "./api.js";
import { Sparkline } from "./parts.js";
import { html, useEffect, useState } from "./view.js";
import { label } from "./words.js";

const DAYS = 28;
// A younger post has its line by the hour.
const LONG_SECONDS = 4 * 86_400;
const AT_ONCE = 3;
const MOST_KEPT = 500;

// The points of each post's line, by id, as they come; one that was read stays right until its post is
// answered for anew. Where requests are counted, figures matter more than lines.
export function useLines(session, posts, metric) {
  const [lines, draw] = useState(new Map());
  const wanted = posts.filter((post) => post.captured_at && post.published_at && isId(post.id));
  useEffect(() => {
    if (session.isLimited) return undefined;
    const stopping = new AbortController();
    const { kept } = session;
    const left = [...wanted];
    const next = async () => {
      for (let post = left.shift(); post && !stopping.signal.aborted; post = left.shift()) {
        const name = `${post.id} ${metric} ${post.captured_at}`;
        let values = kept.get(name);
        if (!values) {
          const from = Math.floor(new Date(post.published_at) / 1000);
          const to = Math.min(from + DAYS * 86_400, Math.floor(Date.now() / 1000));
          const address = withQuery(`/tidemark/v1/posts/${encodeURIComponent(post.id)}/series`, { metrics: metric, from, to, step: to - from > LONG_SECONDS ? "day" : "hour" });
          values = (await session.get(address, stopping.signal)).points.map((point) => point[metric]);
          // Meanwhile another key may hold the session.
          if (stopping.signal.aborted) return;
          kept.delete(kept.size >= MOST_KEPT ? kept.keys().next().value : "");
          kept.set(name, values);
        }
        draw((before) => (before.get(post.id) === values ? before : new Map(before).set(post.id, values)));
      }
    };
    for (let n = 0; n < AT_ONCE; n += 1) {
      // A line that can't be had is left out; the view itself says what is wrong.
      next().catch(() => left.splice(0));
    }
    return () => stopping.abort();
  }, [session, metric, JSON.stringify(wanted.map((post) => [post.id, post.captured_at]))]);
  return lines;
}

export const Line = ({ values, metric }) => html`<${Sparkline} values=${values ?? []} label=${`${label(metric)} over its first ${DAYS} days`} />`;
