// The view layer: preact with htm, so that markup is text of this file and texts of others are only ever text nodes.
import { h, render } from "./vendor/preact.js";
import { useEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

// htm keeps parts of a template that hold no value, and preact writes into each part where it stood: such a part holds
// the whole view that showed it last, with all its nodes. This mark tells htm to make each part anew.
const VARIES = 3;

export const html = htm.bind(function make(...parts) {
  this[0] = VARIES;
  return h(...parts);
});
export { render, useEffect, useMemo, useRef, useState };
