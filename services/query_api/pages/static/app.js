// The workspace's dashboard: signs in, and shows the view that the address names.
import { addressWith, followLinks, isId, placeOf, useParameters } from "./address.js";
import { Session, useAnswers, withQuery } from "./api.js";
import { useTick } from "./live.js";
import { Empty, Frame, Missing, NO_CHANNEL, NO_POST, SignIn, Title, useTitle } from "./parts.js";
import { Accounts } from "./accounts.js";
import { Channels } from "./channels.js";
import { BestTimes, Decay, Unusual } from "./insights.js";
import { Overview } from "./overview.js";
import { Post } from "./post.js";
import { Posts } from "./posts.js";
import { zoneOf } from "./span.js";
import { html, render, useEffect, useRef, useState } from "./view.js";

const LINKS = [["overview", "Overview"], ["posts", "Posts"], ["channels", "Channels"], ["accounts", "Accounts"], ["best-times", "Best times"], ["decay", "Decay"], ["unusual", "Unusual"]];
const VIEWS = { overview: Overview, channels: Channels, accounts: Accounts, "best-times": BestTimes, decay: Decay, unusual: Unusual };
const session = new Session("tidemark.key");

async function check(key) {
  session.key = key;
  try {
    await session.get("/tidemark/v1/channels?limit=1");
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      session.key = null;
      throw error;
    }
    // The key is not refused; what else is wrong, the views say.
  }
}

function App() {
  const [key, keep] = useState(session.key);
  const [refused, say] = useState(null);
  const isFresh = useRef(false);
  useEffect(() => {
    session.onRefused = (error) => {
      if (session.key === null) return;
      session.key = null;
      say(error.status === 403 ? "This key may not read analytics." : "The key does not work any more. Sign in again.");
      keep(null);
    };
  }, []);
  if (!key) {
    return html`<${SignIn}
      title="Your workspace"
      note="Sign in with an API key of the workspace."
      field="API key"
      refused=${refused}
      check=${async (text) => {
        await check(text);
        isFresh.current = true;
        say(null);
        keep(text);
      }}
    />`;
  }
  const signOut = () => {
    session.key = null;
    say(null);
    keep(null);
  };
  return html`<${Workspace} key=${key} isFresh=${isFresh.current} onSignOut=${signOut} />`;
}

const NoPost = () => html`<${Missing} text="Post" words=${NO_POST} back=${html`<p class="back"><a href=${addressWith({ post: null })}>← All posts</a></p>`} />`;
const NoChannel = () => html`<${Missing} text="Channel" words=${NO_CHANNEL} back=${html`<p class="back"><a href=${addressWith({ channel: null })}>← All channels</a></p>`} />`;

function viewOf(view, held) {
  if (view === "posts" && held.post) return isId(held.post) ? Post : NoPost;
  if (view === "channels" && held.channel && !isId(held.channel)) return NoChannel;
  return view === "posts" ? Posts : VIEWS[view];
}

function Workspace({ isFresh, onSignOut }) {
  const held = useParameters();
  const tick = useTick(session);
  const { data, errors, isLoading } = useAnswers(session, { channels: { rows: withQuery("/tidemark/v1/channels", { limit: 500 }) } }, tick);
  const channels = data.channels?.data ?? [];
  const view = LINKS.some(([name]) => name === held.view) ? held.view : "overview";
  const name = LINKS.find(([one]) => one === view)[1];
  const isOfOne = (view === "posts" && held.post) || (view === "channels" && held.channel);
  const isEmpty = data.channels && !channels.length;
  useTitle(isOfOne && !isEmpty ? null : name);
  const shared = { session, held, tick, channels, isLoading, listErrors: errors, missing: data.channels ? null : { error: errors.channels }, zone: zoneOf(held) };
  const View = viewOf(view, held);
  const place = placeOf({ ...held, view });
  return html`<${Frame} links=${LINKS} current=${view} place=${place} isFresh=${isFresh} onSignOut=${onSignOut}>
    ${isEmpty && html`<${Title} text=${name} /><${Empty} title="No channel is connected yet">
      Channels and posts are written through the admin API; its description is at <a href="/docs#admin">/docs</a>. Figures come with the first poll.<//>`}
    ${!isEmpty && html`<${View} key=${place} ...${shared} />`}
  <//>`;
}

followLinks();
render(html`<${App} />`, document.getElementById("root"));
