// The channels that a view is about: none chosen means all of them.
import { addressWith, go } from "./address.js";
import { Button } from "./parts.js";
import { html, useEffect, useRef, useState } from "./view.js";
import { counted, platformName } from "./words.js";

// With more channels than this, a field narrows the list down.
const FEW = 8;

// The ids that the address chooses, each once.
export const chosenOf = (held) => [...new Set((held.channels ?? "").split(",").filter(Boolean))];

const nameOf = (one) => `${one.username || one.id} · ${platformName(one.platform)}`;

export function ChannelPicker({ held, channels }) {
  const chosen = chosenOf(held);
  const [text, type] = useState("");
  const place = useRef();
  const set = (ids) => go(addressWith({ channels: ids.join(), cursor: null }));
  // Closes as a list of choices does: by Escape, and by a click elsewhere.
  useEffect(() => {
    const close = (event) => {
      if (!place.current?.open) return;
      if (event.type === "keydown" ? event.key === "Escape" : !place.current.contains(event.target)) {
        const isWithin = place.current.contains(document.activeElement);
        place.current.open = false;
        if (isWithin && event.type === "keydown") place.current.querySelector("summary").focus();
      }
    };
    addEventListener("keydown", close);
    addEventListener("pointerdown", close);
    return () => {
      removeEventListener("keydown", close);
      removeEventListener("pointerdown", close);
    };
  }, []);
  const known = new Map(channels.map((one) => [one.id, nameOf(one)]));
  const said =
    chosen.length === 0 ? "All channels" : chosen.length === 1 ? (known.get(chosen[0]) ?? chosen[0]) : counted(chosen.length, "channel");
  // An address may name a channel that is gone: it can be taken out here.
  const rows = [...chosen.filter((id) => !known.has(id)).map((id) => [id, `${id} · not connected`]), ...known].filter(
    ([id, name]) => !text || `${id} ${name}`.toLowerCase().includes(text.toLowerCase()),
  );
  return html`<details class="picker" ref=${place}>
    <summary aria-label=${`Channels: ${said}`}><bdi>${said}</bdi></summary>
    <fieldset>
      <legend class="hidden">Channels</legend>
      ${channels.length > FEW &&
      html`<input type="search" aria-label="Find a channel" placeholder="Find a channel" value=${text} onInput=${(event) => type(event.target.value)} />`}
      <div class="rows" tabindex="-1">${rows.map(
        ([id, name]) => html`<label key=${id} data-id=${id}>
          <input type="checkbox" checked=${chosen.includes(id)}
            onChange=${(event) => set(event.target.checked ? [...chosen, id] : chosen.filter((one) => one !== id))} /> <bdi>${name}</bdi></label>`,
      )}
      ${rows.length === 0 && html`<p class="quiet small">No channel has this name.</p>`}</div>
      <${Button} isOff=${!chosen.length} onClick=${() => set([])}>All channels<//>
    </fieldset>
  </details>`;
}
