// The workspace's dashboard: signs in, and shows the view that the address names.
import { followLinks, useParameters } from "./address.js";
import { Session, useAnswers, withQuery } from "./api.js";
import { useTick } from "./live.js";
import { Empty, Frame, Problems, SignIn } from "./parts.js";
import { Accounts } from "./accounts.js";
import { Channels } from "./channels.js";
import { BestTimes, Decay, Unusual } from "./insights.js";
import { Overview } from "./overview.js";
import { Post } from "./post.js";
import { Posts } from "./posts.js";
import { OWN_ZONE, validZone } from "./span.js";
import { html, render, useEffect, useState } from "./view.js";

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
  return html`<${Workspace} key=${key} onSignOut=${signOut} />`;
}

function Workspace({ onSignOut }) {
  const held = useParameters();
  const tick = useTick(session);
  const { data, errors, isLoading } = useAnswers(session, { channels: { rows: withQuery("/tidemark/v1/channels", { limit: 500 }) } }, tick);
  const channels = data.channels?.data ?? [];
  const view = LINKS.some(([name]) => name === held.view) ? held.view : "overview";
  useEffect(() => {
    document.title = `${LINKS.find(([name]) => name === view)[1]} · Tidemark`;
  }, [view]);
  const shared = { session, held, tick, channels, isLoading, missing: data.channels ? null : { error: errors.channels }, zone: validZone(held.zone || OWN_ZONE) };
  const View = view === "posts" ? (held.post ? Post : Posts) : VIEWS[view];
  const isEmpty = data.channels && !channels.length;
  return html`<${Frame} links=${LINKS} current=${view} onSignOut=${onSignOut}>
    ${["channels", "accounts"].includes(view) && !held.channel && html`<${Problems} errors=${errors} />`}
    ${isEmpty && html`<${Empty} title="No channel is connected yet">
      Channels and posts are written through the admin API; its description is at <a href="/docs#admin">/docs</a>. Figures come with the first poll.<//>`}
    ${!isEmpty && html`<${View} key=${`${view}/${held.post ?? ""}/${held.channel ?? ""}`} ...${shared} />`}
  <//>`;
}

followLinks();
render(html`<${App} />`, document.getElementById("root"));
