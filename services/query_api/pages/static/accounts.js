// Connections that need a person, since when, and what to do.
import { addressWith } from "./address.js";
import { Card, Empty, Loading, Platform } from "./parts.js";
import { Status } from "./channels.js";
import { html } from "./view.js";
import { ago, counted, STATUSES, when } from "./words.js";

export function Accounts({ channels, isLoading, zone }) {
  const waiting = channels.filter((one) => one.status !== "active");
  const silent = channels.filter((one) => one.status === "active" && !one.captured_at);
  const fine = channels.length - waiting.length - silent.length;
  return html`
    <div class="title"><h1>Accounts</h1><p class="fresh quiet">${counted(fine, "connection")} of ${channels.length} without a problem</p></div>
    ${isLoading && !channels.length && html`<${Loading} lines=${4} />`}
    ${channels.length > 0 && html`
    <${Card} title="Needs a person">
      ${waiting.length
        ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
            <thead><tr><th scope="col">Account</th><th scope="col">State</th><th scope="col">Since</th><th scope="col">What to do</th></tr></thead>
            <tbody>${waiting.map((one) => html`<tr key=${one.id} data-id=${one.id}>
              <th scope="row"><a href=${addressWith({ view: "channels", channel: one.id })}><${Platform} name=${one.platform} /> ${one.username || one.id}</a></th>
              <td><${Status} status=${one.status} /></td>
              <td class="quiet" title=${when(one.updated_at, zone)}>${ago(one.updated_at)}</td>
              <td class="wide">${STATUSES[one.status]?.[1] ?? ""}</td>
            </tr>`)}</tbody></table></div>`
        : html`<${Empty} title="Nobody has to do anything">All connections work.<//>`}
    <//>
    ${silent.length > 0 && html`<${Card} title="Waiting for the first answer" note="The first poll is still to come, or no answer had figures.">
      <ul class="plain">${silent.map((one) => html`<li key=${one.id} data-id=${one.id}><a href=${addressWith({ view: "channels", channel: one.id })}><${Platform} name=${one.platform} /> ${one.username || one.id}</a>
        <span class="quiet"> ${one.next_poll_at ? `next poll ${new Date(one.next_poll_at) < Date.now() ? "is due" : ago(one.next_poll_at)}` : ""}</span></li>`)}</ul>
    <//>`}`}
  `;
}
