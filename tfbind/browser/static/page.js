// The page with the genome browser. What there is to see stands in the page itself (tracks.json says the same);
// what is seen stands in the address: #locus=chr1:1-30000&tracks=FACTOR|CELL_TYPE,...&hide=KIND,...&scale=view
"use strict";

const RUN = JSON.parse(document.getElementById("run").textContent);
const COLOURS = { predicted: "#0072b2", predicted_calls: "#0072b2", measured: "#d55e00", accessibility: "#646464" };
const KINDS = ["predicted", "predicted_calls", "measured", "accessibility"];
// So many pairs of factor and cell type are drawn at once; each is up to three tracks.
const MOST_PAIRS = 30;
// So many rows of the picker are laid out; a filter finds the others.
const MOST_ROWS = 300;
// What is rendered on demand is asked for in pieces of so many bp, and nothing where more is in view than that.
const RENDERED_PIECE = 250000;
const MOST_RENDERED = 1000000;

const element = (id) => document.getElementById(id);
const FACTORS = new Map(RUN.factors.map((factor, index) => [factor.name, { ...factor, index }]));
const CELL_TYPES = new Map(RUN.cell_types.map((cell, index) => [cell.name, { ...cell, index }]));
const EXPERIMENTS = new Map();
for (const each of RUN.experiments) {
  const key = pairKey(each.factor, each.cell_type);
  EXPERIMENTS.set(key, [...(EXPERIMENTS.get(key) || []), each]);
}

// What is seen. `pairs` are keys FACTOR|CELL_TYPE, in the order in which they were chosen.
const state = { locus: RUN.start.locus, pairs: [], hidden: new Set(), scale: "fixed" };
// How files are read: null from the server; else File by path, from a folder that was chosen.
let chosenFolder = null;
let onDemand = false;
let browser = null;

function pairKey(factor, cellType) {
  return `${factor}|${cellType}`;
}

function splitKey(key) {
  const [factor, cellType] = key.split("|");
  return { factor: FACTORS.get(factor), cellType: CELL_TYPES.get(cellType) };
}

function isRendered(factor, cellType) {
  return cellType.predicted_calls[factor.index] !== null;
}

function isDrawable(factor, cellType) {
  return onDemand || isRendered(factor, cellType) || EXPERIMENTS.has(pairKey(factor.name, cellType.name));
}

// --- the address --------------------------------------------------------------------------------------------------

function readAddress() {
  const given = new Map();
  for (const part of location.hash.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at > 0) given.set(part.slice(0, at), part.slice(at + 1));
  }
  const list = (name) => (given.get(name) || "").split(",").filter(Boolean).map(decoded);
  const problems = [];
  let pairs = RUN.start.tracks.map((each) => pairKey(each.factor, each.cell_type));
  if (given.has("tracks")) {
    pairs = [];
    for (const key of new Set(list("tracks"))) {
      const { factor, cellType } = splitKey(key);
      if (!factor || !cellType) problems.push(`The run has no ${key.replace("|", " in ")}.`);
      else if (!isDrawable(factor, cellType)) problems.push(`${notThere(factor, cellType)}`);
      else pairs.push(key);
    }
  }
  if (pairs.length > MOST_PAIRS) {
    problems.push(`The first ${MOST_PAIRS} of ${pairs.length} tracks are shown.`);
    pairs = pairs.slice(0, MOST_PAIRS);
  }
  state.pairs = pairs;
  state.hidden = new Set(list("hide").filter((kind) => KINDS.includes(kind)));
  state.scale = given.get("scale") === "view" ? "view" : "fixed";
  if (given.has("locus")) state.locus = decoded(given.get("locus"));
  say(problems.join(" "));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function writeAddress() {
  const encoded = (text) => encodeURIComponent(text).replace(/%3A/g, ":").replace(/%7C/g, "|");
  const parts = [`locus=${encoded(state.locus)}`, `tracks=${state.pairs.map(encoded).join(",")}`];
  if (state.hidden.size) parts.push(`hide=${[...state.hidden].join(",")}`);
  if (state.scale !== "fixed") parts.push(`scale=${state.scale}`);
  history.replaceState(null, "", `#${parts.join("&")}`);
}

function notThere(factor, cellType) {
  return `${factor.name} in ${cellType.name} is not rendered; \`tfbind browse\` renders it on demand.`;
}

function say(text) {
  element("status").textContent = text;
}

// --- the picker ---------------------------------------------------------------------------------------------------

function matches(text, filter) {
  return filter.toLowerCase().split(/\s+/).every((word) => text.toLowerCase().includes(word));
}

function drawPicker() {
  const ofFactor = element("factor-filter").value.trim();
  const ofCell = element("cell-filter").value.trim();
  const factors = [...FACTORS.values()].filter((factor) => matches(factor.name, ofFactor));
  const cells = [...CELL_TYPES.values()].filter((cell) => matches(`${cell.name} ${cell.description}`, ofCell));
  const groups = element("groups");
  const before = new Map([...groups.children].map((each) => [each.dataset.cellType, each.open]));
  const filtered = Boolean(ofFactor || ofCell);
  let room = MOST_ROWS;
  groups.replaceChildren(
    ...cells.map((cell, place) => {
      const open = filtered || CELL_TYPES.size === 1 ? room > 0 : before.get(cell.name) ?? place === 0;
      if (open) room -= Math.min(factors.length, room);
      return group(cell, factors, open);
    }),
  );
  const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;
  element("found").textContent = `${count(factors.length, "factor", "factors")}, ${count(cells.length, "cell type", "cell types")}. Numbers are AUPRC on the test regions.`;
}

function group(cell, factors, open) {
  const details = document.createElement("details");
  details.dataset.cellType = cell.name;
  const summary = document.createElement("summary");
  summary.append(cell.name);
  if (cell.held_out) summary.append(" ", tag("held out", "held", "No call in it was trained on"));
  if (cell.description) summary.append(" ", tag(cell.description, "about"));
  details.append(summary);
  // What is folded is not laid out: there may be a thousand factors in each of a hundred cell types.
  const fill = () => {
    if (details.open && details.children.length === 1) details.append(...rows(cell, factors));
  };
  details.addEventListener("toggle", fill);
  details.open = open;
  fill();
  return details;
}

function rows(cell, factors) {
  const list = document.createElement("ul");
  list.append(...factors.slice(0, MOST_ROWS).map((factor) => row(cell, factor)));
  if (factors.length <= MOST_ROWS) return [list];
  const more = document.createElement("p");
  more.className = "more";
  more.textContent = `${factors.length - MOST_ROWS} more: filter by name`;
  return [list, more];
}

function row(cell, factor) {
  const key = pairKey(factor.name, cell.name);
  const measured = EXPERIMENTS.get(key) || [];
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = key;
  box.checked = state.pairs.includes(key);
  box.disabled = !isDrawable(factor, cell);
  box.addEventListener("change", () => choose(key, box.checked));
  const label = document.createElement("label");
  label.append(box, tag(factor.name, "name"));
  if (factor.held_out) label.append(tag("held out", "tag held", "None of its calls were trained on"));
  const scores = measured.map((each) => each.auprc).filter((auprc) => auprc !== null);
  if (scores.length) label.append(tag(Math.max(...scores).toFixed(2), "tag", "AUPRC on the test regions"));
  if (measured.length) label.append(tag("measured", "tag measured"));
  if (!isRendered(factor, cell)) label.append(tag(onDemand ? "on demand" : "not rendered", "tag"));
  if (box.disabled) {
    label.className = "off";
    label.title = notThere(factor, cell);
  }
  const item = document.createElement("li");
  item.append(label);
  return item;
}

function tag(text, className, title) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  if (title) span.title = title;
  return span;
}

function choose(key, wanted) {
  const others = state.pairs.filter((each) => each !== key);
  if (wanted && others.length >= MOST_PAIRS) {
    say(`${MOST_PAIRS} tracks are the most at once: take one out first.`);
    drawPicker();
    return;
  }
  say("");
  state.pairs = wanted ? [...others, key] : others;
  show();
}

function drawChosen() {
  const items = state.pairs.map((key) => {
    const { factor, cellType } = splitKey(key);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "×";
    button.setAttribute("aria-label", `Take out ${factor.name} in ${cellType.name}`);
    button.addEventListener("click", () => choose(key, false));
    const item = document.createElement("li");
    item.append(`${factor.name} in ${cellType.name} `, button);
    return item;
  });
  if (items.length > 1) {
    const clear = document.createElement("button");
    clear.type = "button";
    clear.className = "clear";
    clear.textContent = "take all out";
    clear.addEventListener("click", () => {
      state.pairs = [];
      show();
    });
    items.push(clear);
  }
  element("chosen").replaceChildren(...items);
}

// --- the tracks ---------------------------------------------------------------------------------------------------

// An address relative to this page, as igv.js takes it: itself, or the file of the folder that was chosen.
function source(address) {
  if (chosenFolder === null) return address;
  const path = new URL(address, "file:///browser/index.html").pathname.slice(1);
  return chosenFolder.get(decodeURIComponent(path));
}

function fill(template, factor, cellType) {
  return template
    .replace("{factor}", encodeURIComponent(factor.name))
    .replace("{cell_type}", encodeURIComponent(cellType.name));
}

// What is drawn, in the order in which it is: by cell type, its accessibility first, and by factor.
function wantedTracks() {
  const tracks = [];
  for (const cellType of CELL_TYPES.values()) {
    const factors = state.pairs.map(splitKey).filter((pair) => pair.cellType === cellType).map((pair) => pair.factor);
    if (!factors.length) continue;
    tracks.push(heading(cellType));
    if (cellType.accessibility) tracks.push(accessibilityTrack(cellType));
    factors.sort((one, other) => one.index - other.index);
    for (const factor of factors) tracks.push(...tracksOf(factor, cellType));
  }
  return tracks.filter((track) => !state.hidden.has(track.kind)).map((track, order) => ({ ...track, order }));
}

// A track without features, for its name.
function heading(cellType) {
  const name = [cellType.name, cellType.description].filter(Boolean).join(": ");
  return { ...look("heading", cellType, name), type: "annotation", features: [], height: 22, displayMode: "COLLAPSED" };
}

function accessibilityTrack(cellType) {
  return {
    ...look("accessibility", cellType, "accessibility"),
    type: "wig",
    format: "bigwig",
    url: source(cellType.accessibility),
    autoscaleGroup: "accessibility",
    height: 44,
  };
}

function tracksOf(factor, cellType) {
  const tracks = [];
  const calls = cellType.predicted_calls[factor.index];
  // Where a pixel is many bins, the highest is shown: what is bound is rare.
  const probability = {
    ...look("predicted", cellType, `${factor.name} predicted`),
    ...scaling(),
    type: "wig",
    height: 60,
    windowFunction: "max",
  };
  if (isRendered(factor, cellType)) {
    tracks.push({ ...probability, format: "bigwig", url: source(fill(RUN.predicted, factor, cellType)) });
  } else if (onDemand) {
    tracks.push({
      ...probability,
      name: `${factor.name} predicted, on demand`,
      visibilityWindow: MOST_RENDERED,
      expandQuery: false,
      reader: new Rendered(factor, cellType),
    });
  }
  if (calls) {
    tracks.push({
      ...look("predicted_calls", cellType, `${factor.name} predicted calls`),
      ...callsLook(),
      url: source(fill(RUN.predicted_calls, factor, cellType)),
    });
  }
  for (const each of EXPERIMENTS.get(pairKey(factor.name, cellType.name)) || []) {
    const which = each.name.replace(`${factor.name}.${cellType.name}`, "").replace(/^\./, "");
    const measured = look("measured", cellType, `${factor.name} measured calls${which && ` (${which})`}`);
    tracks.push({ ...measured, ...callsLook(), url: source(each.file) });
  }
  return tracks;
}

function look(kind, cellType, name) {
  return { kind, id: `${cellType.name} ${kind} ${name}`, name, color: COLOURS[kind], removable: false };
}

function callsLook() {
  // Calls stand below their name.
  return { type: "annotation", format: "bigbed", displayMode: "COLLAPSED", height: 26, margin: 14, featureHeight: 9, expandedRowHeight: 12, labelDisplayMode: "NONE" };
}

function scaling() {
  return state.scale === "fixed" ? { min: 0, max: 1, autoscale: false } : { autoscaleGroup: "predicted" };
}

// A track that was never made, region by region from the genome embedding.
class Rendered {
  constructor(factor, cellType) {
    this.factor = factor;
    this.cellType = cellType;
    this.pieces = new Map();
  }

  async readFeatures(chrom, start, end) {
    const size = browser.genome.getChromosome(chrom)?.bpLength ?? end;
    const what = `${this.factor.name} in ${this.cellType.name}`;
    const features = [];
    say(`Rendering ${what} ...`);
    try {
      const last = Math.min(end, size);
      for (let at = Math.floor(start / RENDERED_PIECE) * RENDERED_PIECE; at < last; at += RENDERED_PIECE) {
        features.push(...(await this.piece(chrom, at, Math.min(at + RENDERED_PIECE, size))));
      }
      say("");
    } catch (error) {
      say(`${what} could not be rendered: ${error.message}`);
    }
    return features;
  }

  async piece(chrom, start, end) {
    const region = `${chrom}:${start + 1}-${end}`;
    if (!this.pieces.has(region)) {
      const query = new URLSearchParams({ factor: this.factor.name, cell_type: this.cellType.name, region });
      const answer = await fetch(`../render?${query}`);
      const content = await answer.json();
      if (content.error) throw new Error([content.error, content.mend].filter(Boolean).join("; "));
      this.pieces.set(region, content.values.map((value, index) => ({
        chr: chrom,
        start: content.start + index * content.bin,
        end: Math.min(content.start + (index + 1) * content.bin, end),
        value,
      })));
    }
    return this.pieces.get(region);
  }
}

// One change after the other: igv.js loads tracks while the next click comes.
let changes = Promise.resolve();

function show() {
  drawChosen();
  for (const box of element("groups").querySelectorAll("input")) box.checked = state.pairs.includes(box.value);
  for (const box of element("kinds").querySelectorAll("input")) box.checked = !state.hidden.has(box.value);
  element("scale").value = state.scale;
  writeAddress();
  changes = changes.then(drawTracks).catch((error) => say(`The tracks could not be drawn: ${error.message || error}`));
  return changes;
}

function dressHeading(view) {
  for (const viewport of view.viewports) viewport.trackLabelElement?.classList.add("heading");
  for (const part of [view.gearContainer, view.dragHandle]) if (part) part.style.visibility = "hidden";
}

// igv.js draws below a root of its own. Its names of tracks would hide what is drawn.
const IGV_STYLE = `
  .igv-viewport .igv-track-label { top: 0 !important; transform: none !important; left: 2px; border: 0; background: rgba(255, 255, 255, 0.75); font: 11px system-ui, "DejaVu Sans", sans-serif; color: #1c2430; max-width: 90%; }
  .igv-viewport .igv-track-label.heading { top: 4px !important; left: 0; font-weight: 600; font-size: 13px; }
  .igv-container .igv-track-drag-column { display: none; }
  @media (max-width: 800px) {
    .igv-container [class*="igv-navbar"]:not([class*="button"]), .igv-container .igv-search-container, .igv-container .igv-locus-size-group { flex-wrap: wrap; height: auto; min-width: 0; max-width: 100%; }
  }
`;

function dressIgv() {
  const style = document.createElement("style");
  style.textContent = IGV_STYLE;
  element("igv").shadowRoot.append(style);
}

// igv.js stumbles over a track that is taken out while it reads or scales it.
async function settled() {
  const reading = () => browser.trackViews.some((view) => view.viewports.some((each) => each.loading));
  for (let tries = 0; tries < 200 && reading(); tries += 1) await new Promise((resolve) => setTimeout(resolve, 50));
  await browser.updateViews();
}

let drawnScale = null;

async function drawTracks() {
  if (browser === null) return;
  await settled();
  const wanted = wantedTracks();
  const there = new Map(browser.tracks.filter((track) => track.config?.kind).map((track) => [track.id, track]));
  const ids = new Set(wanted.map((track) => track.id));
  const rescaled = drawnScale !== state.scale;
  drawnScale = state.scale;
  for (const [id, track] of there) {
    const again = rescaled && track.config.kind === "predicted";
    if (!ids.has(id) || again) {
      browser.removeTrack(track);
      there.delete(id);
    }
  }
  for (const track of wanted) {
    if (there.has(track.id)) there.get(track.id).order = track.order;
  }
  await browser.loadTrackList(wanted.filter((track) => !there.has(track.id)));
  browser.reorderTracks();
  for (const view of browser.trackViews) if (view.track.config?.kind === "heading") dressHeading(view);
  document.body.dataset.drawn = wanted.map((track) => track.id).join(", ");
}

// --- the start ----------------------------------------------------------------------------------------------------

async function openBrowser() {
  browser = await igv.createBrowser(element("igv"), {
    reference: {
      id: RUN.run,
      name: RUN.run,
      twoBitURL: source(RUN.genome.sequence),
      chromSizesURL: source(RUN.genome.sizes),
      wholeGenomeView: false,
    },
    locus: state.locus,
    tracks: genes(),
    loadDefaultGenomes: false,
    // Names would be looked up elsewhere.
    search: false,
    showCenterGuideButton: false,
    showCursorTrackingGuideButton: true,
    showSampleNameButton: false,
    showROITableButton: false,
    showMultiSelectButton: false,
  });
  dressIgv();
  browser.on("locuschange", () => {
    const locus = browser.currentLoci();
    if (typeof locus !== "string") return;
    state.locus = locus.replace(/(\d+)\.\d+/g, "$1");
    writeAddress();
  });
  await show();
}

function genes() {
  if (!RUN.genes) return [];
  return [{ type: "annotation", format: "bigbed", name: "genes", url: source(RUN.genes), color: "#1c2430", order: -1, removable: false, displayMode: "EXPANDED", height: 60, maxRows: 20 }];
}

async function goTo(locus) {
  try {
    await browser.search(locus);
  } catch {
    say(`There is no place ${locus} in this genome.`);
  }
}

function notice(title, ...content) {
  const heading = document.createElement("h2");
  heading.textContent = title;
  element("notice").replaceChildren(heading, ...content);
  element("notice").hidden = false;
}

function paragraph(...content) {
  const made = document.createElement("p");
  made.append(...content);
  return made;
}

function code(text) {
  const made = document.createElement("code");
  made.textContent = text;
  return made;
}

function howToServe() {
  return paragraph("In a terminal, run ", code(`tfbind browse results/${RUN.run}`), " and open the address that it prints.");
}

// No browser lets a page from disk read the files beside it, but the user may hand it their folder.
function offerFolder() {
  const input = document.createElement("input");
  input.type = "file";
  input.id = "folder";
  input.webkitdirectory = true;
  input.addEventListener("change", () => {
    chosenFolder = filesByPath([...input.files]);
    if (!chosenFolder) {
      say(`That is not the folder of this run: it has no browser/${RUN.genome.sequence}.`);
      return;
    }
    element("notice").hidden = true;
    say("");
    openBrowser().catch(failed);
  });
  const label = document.createElement("label");
  label.htmlFor = "folder";
  label.append("Or hand this page the folder ", code(RUN.run), " (nothing leaves your machine): ");
  notice("This page was opened from a disk, and may not read the tracks by itself", howToServe(), paragraph(label, input));
}

function filesByPath(files) {
  const mark = `browser/${RUN.genome.sequence}`;
  const found = files.find((file) => file.webkitRelativePath.endsWith(`/${mark}`));
  if (!found) return null;
  const root = found.webkitRelativePath.slice(0, -mark.length);
  return new Map(files.map((file) => [file.webkitRelativePath.slice(root.length), file]));
}

function failed(error) {
  notice("The tracks could not be opened", paragraph(String(error.message || error)), howToServe());
}

// The server's own answers say whether it sends pieces of files, and whether it renders.
async function askServer() {
  const answer = await fetch(RUN.genome.sequence, { headers: { Range: "bytes=0-3" } });
  const pieces = answer.status === 206;
  onDemand = answer.headers.get("Tfbind-On-Demand") !== null;
  if (!answer.ok) throw new Error(`${RUN.genome.sequence} is not there (HTTP status ${answer.status}).`);
  if (!pieces) throw new Error("This web server sends no pieces of files (HTTP range requests), which tracks are read by.");
}

function summary() {
  const bases = RUN.genome.bases;
  const size = bases >= 1e9 ? `${(bases / 1e9).toFixed(1)} Gb` : `${(bases / 1e6).toFixed(1)} Mb`;
  element("summary").textContent =
    `Binding of ${RUN.factors.length} factors in ${RUN.cell_types.length} cell types, predicted in bins of ` +
    `${RUN.bin} bp over ${size}; calls at ${Math.round(RUN.fdr * 100)} % false discovery rate.`;
}

async function begin() {
  summary();
  if (window.matchMedia("(max-width: 800px)").matches) element("fold").setAttribute("aria-expanded", "false");
  const served = location.protocol !== "file:";
  let problem = null;
  if (served) await askServer().catch((error) => (problem = error));
  readAddress();
  drawPicker();
  drawChosen();
  show();
  if (problem) failed(problem);
  else if (served) await openBrowser().catch(failed);
  else offerFolder();
}

element("factor-filter").addEventListener("input", drawPicker);
element("cell-filter").addEventListener("input", drawPicker);
element("fold").addEventListener("click", () => {
  const open = element("fold").getAttribute("aria-expanded") === "true";
  element("fold").setAttribute("aria-expanded", String(!open));
});
element("kinds").addEventListener("change", (event) => {
  if (event.target.checked) state.hidden.delete(event.target.value);
  else state.hidden.add(event.target.value);
  show();
});
element("scale").addEventListener("change", () => {
  state.scale = element("scale").value;
  show();
});
window.addEventListener("hashchange", () => {
  const before = state.locus;
  readAddress();
  const { locus } = state;
  if (browser !== null && locus !== before) changes = changes.then(() => goTo(locus));
  show();
});
begin();
