// The table of posts: sorted by any column, in pages, with filters and a search.
import { addressWith, go, wasReturned } from "./address.js";
import { useAnswers, withQuery } from "./api.js";
import { Line, useLines } from "./lines.js";
import { Empty, Figure, Loading, NO_CHOSEN, Platform, Problems, Select, Title } from "./parts.js";
import { chosenOf } from "./picker.js";
import { instantsOf, SpanBar, spanOf } from "./span.js";
import { html, useEffect, useRef, useState } from "./view.js";
import { label, platformName, PLATFORMS, when } from "./words.js";

const COLUMNS = ["engagements", "engagement_rate", "impressions", "views", "reach", "likes", "comments", "shares", "saves", "clicks"];
const LIMIT = 25;
const EXCERPT = 110;

export function textOf(post) {
  const letters = [...(post.targets.map((target) => target.content?.trim()).find(Boolean) ?? "")];
  return letters.length > EXCERPT ? `${letters.slice(0, EXCERPT).join("").trimEnd()}…` : letters.join("");
}

export function PostCell({ post, zone }) {
  const platforms = [...new Set(post.targets.map((target) => target.platform))];
  return html`<a class="post" href=${addressWith({ view: "posts", post: post.id, cursor: null })}>
    <span class="places">${platforms.slice(0, 4).map((name) => html`<${Platform} key=${name} name=${name} isBare />`)}</span>
    <span class="what"><span class="text"><bdi>${textOf(post) || post.id}</bdi></span>
    <span class="quiet small">${post.published_at ? when(post.published_at, zone) : post.status}</span></span>
  </a>`;
}

export function Posts({ session, held, tick, channels }) {
  const span = spanOf(held, "90d");
  const sort = COLUMNS.includes(held.sort) ? held.sort : "";
  const order = held.order === "asc" ? "asc" : "desc";
  const isRising = order === "asc";
  const search = held.search ?? "";
  const filters = { ...instantsOf(span), channel_ids: chosenOf(held).join(), platform: held.platform, search, limit: LIMIT, cursor: held.cursor };
  const address = sort
    ? withQuery("/tidemark/v1/top/posts", { ...filters, metric: sort, order })
    : withQuery("/tidemark/v1/posts", { ...filters, order: isRising ? order : null });
  const { data, errors, isLoading } = useAnswers(session, { page: address }, tick);
  const posts = data.page?.data;
  // The table's head stays, whatever comes for it: else its links would drop the focus.
  const isAwaited = !posts && isLoading;
  const table = useRef();
  const list = addressWith({ cursor: null });
  const last = useRef({ list, cursor: held.cursor });
  useEffect(() => {
    const { list: before, cursor } = last.current;
    if (isAwaited || cursor === held.cursor) return;
    last.current = { list, cursor: held.cursor };
    if (before !== list) return;
    // The link to this page is gone: its reader goes on at the table's top.
    table.current?.focus({ preventScroll: true });
    if (!wasReturned()) table.current?.scrollIntoView();
  }, [held.cursor, list, isAwaited]);
  const whose = held.platform || chosenOf(held).length ? " of these channels" : "";
  const drawn = sort && sort !== "reach" ? sort : "engagements";
  const lines = useLines(session, posts ?? [], drawn);
  const most = posts && sort ? Math.max(...posts.map((post) => Number(post.metrics[sort] ?? 0)), 0) : 0;
  return html`
    <${Title} text="Posts" />
    <${SpanBar} held=${{ ...held, range: span.range }} span=${span} channels=${channels}>
      <${Select} label="Platform" isHidden value=${held.platform ?? ""} onChange=${(value, how) => go(addressWith({ platform: value, cursor: null }), how)}
        options=${[["", "All platforms"], ...Object.keys(PLATFORMS).map((name) => [name, platformName(name)])]} />
      <${Search} value=${search} />
    <//>
    <${Problems} errors=${errors} missing=${chosenOf(held).length ? NO_CHOSEN : null} />
    ${(posts || isAwaited) &&
    html`<div class="scroll card" tabindex="0" role="group" aria-label="Table" ref=${table}><table class="posts" data-endpoint="posts">
        <thead><tr>
          <th scope="col" aria-sort=${sort ? "none" : isRising ? "ascending" : "descending"}>
            <a href=${addressWith({ sort: null, order: sort || isRising ? null : "asc", cursor: null })}>${!sort && isRising ? "Oldest" : "Newest"}</a></th>
          <th scope="col"><span title=${`${label(drawn)} over the first 28 days`}>First 28 days</span></th>
          ${COLUMNS.map(
            (name) => html`<th scope="col" key=${name} class="number" aria-sort=${sort !== name ? "none" : isRising ? "ascending" : "descending"}>
              <a href=${addressWith({ sort: name, order: sort === name && !isRising ? "asc" : null, cursor: null })}>${label(name)}</a></th>`,
          )}
        </tr></thead>
        <tbody>${(posts ?? []).map(
          (post) => html`<tr key=${post.id} data-id=${post.id} data-kind="post">
            <th scope="row"><${PostCell} post=${post} zone=${span.zone} /></th>
            <td class="line"><${Line} values=${lines.get(post.id)} metric=${drawn} /></td>
            ${COLUMNS.map(
              (name) => html`<td key=${name} class=${`number ${name === sort ? "sorted" : ""}`}>
                <${Figure} metric=${name} value=${post.metrics[name]} reason=${post.reasons[name]} short />
                ${name === sort && most > 0 && html`<meter class="share" min="0" max=${most} value=${Number(post.metrics[name] ?? 0)} aria-hidden="true"></meter>`}
              </td>`,
            )}
          </tr>`,
        )}</tbody>
      </table>
      ${isAwaited && html`<${Loading} lines=${8} />`}
      ${posts?.length === 0 && html`<${Empty} title="No posts here">${held.cursor
        ? "The list ends before this page."
        : search
          ? `No post${whose} of this range${sort ? " and with this figure" : ""} has this in its text, or an id that begins with it.`
          : sort
            ? `No post${whose} of this range has this figure.`
            : `No post${whose} was published in this range. Choose a longer one.`}<//>`}</div>`}
    ${(posts || held.cursor) && html`
      <div class="pages">
        ${held.cursor ? html`<a class="button" href=${addressWith({ cursor: null })}>First page</a>` : html`<span></span>`}
        ${data.page?.next_cursor && html`<a class="button" rel="next" href=${addressWith({ cursor: data.page.next_cursor })}>Next page</a>`}
      </div>`}
  `;
}

function Search({ value }) {
  const [text, type] = useState(value);
  useEffect(() => type(value), [value]);
  const submit = (event) => {
    event.preventDefault();
    go(addressWith({ search: text.trim(), cursor: null }));
  };
  return html`<form class="search" role="search" onSubmit=${submit}>
    <label class="hidden" for="search">Search posts</label>
    <input id="search" type="search" placeholder="Search text or id" maxlength="200" value=${text} onInput=${(event) => type(event.target.value)} />
    <button type="submit">Search</button>
  </form>`;
}
