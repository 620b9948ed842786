// Connections that need a person, since when, and what to do.
import { addressWith } from "./address.js";
import { Ago, Card, Empty, isRefused, Loading, Name, NextPoll, Platform, Problems, Title } from "./parts.js";
import { Status } from "./channels.js";
import { html } from "./view.js";
import { counted, STATUSES, when } from "./words.js";

export function Accounts({ channels, isLoading, listErrors, zone }) {
  const waiting = channels.filter((one) => one.status !== "active");
  const unknown = channels.filter((one) => one.status === "active" && !one.captured_at);
  const refused = unknown.filter((one) => isRefused(one.reasons));
  const silent = unknown.filter((one) => !isRefused(one.reasons));
  const fine = channels.length - waiting.length - unknown.length;
  return html`
    <${Title} text="Accounts">${channels.length > 0 && html`<p class="fresh quiet">${counted(fine, "connection")} of ${channels.length} without a problem</p>`}<//>
    <${Problems} errors=${listErrors} />
    ${isLoading && !channels.length && html`<${Loading} lines=${4} />`}
    ${channels.length > 0 && html`
    <${Card} title="Needs a person">
      ${waiting.length
        ? html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
            <thead><tr><th scope="col">Account</th><th scope="col">State</th><th scope="col">Since</th><th scope="col">What to do</th></tr></thead>
            <tbody>${waiting.map((one) => html`<tr key=${one.id} data-id=${one.id}>
              <th scope="row"><a href=${addressWith({ view: "channels", channel: one.id })}><${Platform} name=${one.platform} /> <${Name} of=${one} /></a></th>
              <td><${Status} status=${one.status} /></td>
              <td class="quiet" title=${when(one.updated_at, zone)}><${Ago} at=${one.updated_at} /></td>
              <td class="wide">${STATUSES[one.status]?.[1] ?? ""}</td>
            </tr>`)}</tbody></table></div>`
        : html`<${Empty} title="Nobody has to do anything">All connections work.<//>`}
    <//>
    ${refused.length > 0 && html`<${Card} title="Polls that fail" note="The platform refused the last poll, and no figure is known yet. The next poll tries again; where it goes on, connect the account again.">
      <${Unknown} channels=${refused} />
    <//>`}
    ${silent.length > 0 && html`<${Card} title="Waiting for the first answer" note="The first poll is still to come, or no answer had figures.">
      <${Unknown} channels=${silent} />
    <//>`}`}
  `;
}

const Unknown = ({ channels }) => html`<ul class="plain">${channels.map((one) => html`<li key=${one.id} data-id=${one.id}><a href=${addressWith({ view: "channels", channel: one.id })}><${Platform} name=${one.platform} /> <${Name} of=${one} /></a>
  <span class="quiet"> ${one.next_poll_at && html`<${NextPoll} at=${one.next_poll_at} />`}</span></li>`)}</ul>`;
