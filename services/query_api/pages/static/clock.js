// The page's clock: one timer for all texts that tell how long ago something was.
import { useEffect, useRef, useState } from "./view.js";

const EVERY_MS = 1_000;
const followers = new Set();
let timer = null;

const look = () => document.visibilityState === "visible" && followers.forEach((follower) => follower());
document.addEventListener("visibilitychange", look);

// A text that is made anew as time goes by; only what holds the text is drawn again, and only when the text changed.
export function useMoving(make) {
  const [, draw] = useState("");
  const latest = useRef(make);
  latest.current = make;
  useEffect(() => {
    const follower = () => draw(latest.current());
    followers.add(follower);
    timer ??= setInterval(look, EVERY_MS);
    return () => {
      followers.delete(follower);
      if (followers.size) return;
      clearInterval(timer);
      timer = null;
    };
  }, []);
  return make();
}
