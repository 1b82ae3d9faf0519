// The page: its state, the questions it asks, and how it draws the answers. All that is shown follows from `state`.
"use strict";

const $ = (id) => document.getElementById(id);
const REST = 150; // ms without movement, after which the samples are asked for
const TURN = Math.PI; // radians of a drag across the picture
const SPEED = { turn: 1.4, tilt: 0.9, ahead: 0.45, aside: 0.45 }; // of held keys, per second
const KEYS = {
  w: ["ahead", 1], s: ["ahead", -1], a: ["aside", -1], d: ["aside", 1],
  arrowup: ["up", 1], arrowdown: ["up", -1], arrowleft: ["turn", -1], arrowright: ["turn", 1],
  left: ["turn", -1], right: ["turn", 1],
};
const MOTIONS = { // how cameras move: what to say of it
  sphere: "Drag to see the object from where the network has not.",
  ring: "Drag to go around the room, to where the network has not been.",
  around: "Drag to go around the middle, up and down; W and S: nearer, farther.",
  walk: "Drag sideways to look, up and down to walk; or W A S D and arrows.",
};

const state = { dataset: "", scene: 0, context: [0, 1], camera: null, seed: 0, step: 0 };
let run = null; // what the server says of itself
let place = null; // the scene: motion, poses, whether the truth is known anywhere
let here = null; // the pose of the picture shown
let moves = { turn: 0, tilt: 0, ahead: 0, aside: 0 }; // since the last question
let gains = []; // predicted so far: {pose, gain}
let socket, ids = 0;
let wanted = false; // a picture that has not been asked for yet
let waiting = null; // the question under way: {id, about, at}
let latest = {}; // the newest id of each kind of question
let linked = location.hash.length > 1; // whether the scene to be shown is from a link
let resting, images = {};

// ---------------------------------------------------------------- questions

function connect() {
  const address = new URL("socket" + location.search, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.hash = "";
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => (typeof data === "string" ? told(JSON.parse(data)) : answered(data));
  socket.onclose = () => {
    waiting = null;
    $("orbit").disabled = false;
    say("No connection to the server; trying again. Is it running, and is the address complete?");
    setTimeout(connect, 1500);
  };
}

function ask(about) {
  if (socket.readyState !== WebSocket.OPEN) return;
  const id = (latest[about] = ++ids);
  if (about === "scene" || about === "view") waiting = { id, about, at: performance.now() };
  const camera = state.camera ?? 0;
  socket.send(JSON.stringify({ about, id, ...state, camera }));
}

// Ask for the picture, unless one is under way: then the newest camera is asked for when it has come.
function look() {
  wanted = true;
  unsettle();
  if (waiting || !place) return;
  wanted = false;
  if (Object.values(moves).some(Boolean)) {
    state.camera = moved(here ?? place.poses[0], moves);
    if (!$("hold").checked) state.seed = fresh();
    moves = { turn: 0, tilt: 0, ahead: 0, aside: 0 };
  }
  ask("view");
}

function open() { // after a change of what the strip of views shows
  place = null;
  unsettle();
  ask("scene");
}

function unsettle() {
  clearTimeout(resting);
  latest.samples = 0;
  delete document.body.dataset.settled;
}

function moved([x, y, z, yaw, pitch], { turn, tilt, ahead, aside }) {
  if (place.motion === "walk") {
    const [u, v] = along(yaw), step = place.plan[2];
    [x, y] = [x + step * (ahead * u + aside * v), y + step * (ahead * v - aside * u)];
    yaw += place.clockwise ? turn : -turn;
  } else { // to the right of the middle, or above it
    yaw -= place.clockwise ? turn : -turn;
    if (place.motion === "sphere") pitch -= tilt;
    if (place.motion === "around") {
      z += 0.4 * tilt;
      [x, y] = [x * Math.exp(-ahead / 2), y * Math.exp(-ahead / 2)];
    }
  }
  const full = 2 * Math.PI;
  return rounded([x, y, z, ((yaw % full) + full) % full, pitch]);
}

const rounded = (pose) => pose.map((x) => Math.round(x * 1e4) / 1e4);
const fresh = () => Math.floor(Math.random() * 2 ** 30);

// ---------------------------------------------------------------- answers

function told(message) {
  if (message.error) {
    say(message.error);
    if (!message.id || message.id === waiting?.id) waiting = null;
    if (message.about === "gain") stopGain();
    if (!message.about || message.about === "orbit") endOrbit();
    if (linked && !place) { // to somewhere that is not there
      change({ dataset: run.dataset, scene: 0, seed: 0, step: 0 });
      say(`This link cannot be shown: ${message.error}.`);
    }
    return;
  }
  run = message;
  say("");
  $("run").textContent = run.run;
  document.title = `${run.run} – gqn view`;
  const others = run.datasets.filter((name) => name !== run.dataset);
  $("dataset").replaceChildren(...[["trained on", [run.dataset]], ["never met", others]].map(([label, names]) => {
    const group = Object.assign(document.createElement("optgroup"), { label });
    group.append(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
    return group;
  }));
  $("step").max = run.steps;
  $("step").parentElement.hidden = run.steps < 2;
  $("samples").replaceChildren(...tiles());
  if (!state.dataset) Object.assign(state, { dataset: run.dataset }, fromLink());
  open();
}

function answered(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  if (header.error) return told(header);
  const parts = {};
  let at = 4 + length;
  for (const [name, shape] of header.parts) {
    const size = shape.reduce((a, b) => a * b, 1);
    parts[name] = { bytes: new Uint8Array(buffer, at, size), shape };
    at += size;
  }
  const foremost = header.about === "scene" || header.about === "view";
  if (header.id !== (foremost ? waiting?.id : latest[header.about])) return; // overtaken
  ({ scene: showScene, view: showView, samples: showSamples, gain: showGain, orbit: showOrbit })[header.about](header, parts);
}

function showScene(header, parts) {
  waiting = null;
  place = header;
  images = parts;
  linked = false;
  state.camera ??= header.start;
  here = null;
  $("dataset").value = state.dataset;
  $("scene").value = state.scene;
  stepShown();
  $("how").textContent = place.maps ? "It has learnt to draw the map alone: other pictures of it mean nothing." : MOTIONS[place.motion];
  $("gain").disabled = place.maps;
  $("pad").hidden = place.motion !== "walk";
  $("above").hidden = !place.above;
  $("map-about").textContent = (place.motion === "sphere"
    ? "All cameras, their sphere unrolled. " : "All cameras, from above. ") +
    "Click to go there. The gain: how much a view from there should tell.";
  showViews();
  look();
  refreshGain();
}

function showView(header, parts) {
  speed(performance.now() - waiting.at);
  waiting = null;
  here = rounded(header.pose);
  if (Array.isArray(state.camera)) state.camera = here;
  paint($("sample"), parts.sample);
  const known = "truth" in parts;
  for (const name of ["truth", "difference"]) if (known) paint($(name), parts[name]);
  if (!known) for (const name of ["truth", "difference"]) clear($(name));
  for (const note of document.querySelectorAll(".none")) note.hidden = known;
  $("add").disabled = !known || state.camera === "above" || state.context.length >= run.most || seen(state.camera);
  $("mse").textContent = known ? header.mse.toFixed(4) : "–";
  $("psnr").textContent = known ? `${header.psnr.toFixed(1)} dB` : "–";
  markHere();
  drawMap();
  if (wanted) look();
  else resting = setTimeout(rest, REST);
}

function rest() {
  ask("samples");
  link();
}

function showSamples(header, parts) {
  if (header.kl) {
    const most = Math.max(...header.kl, 0.5);
    const total = header.kl.reduce((a, b) => a + b, 0);
    $("surprise").textContent = `${total.toFixed(1)} nats`;
    $("kl").setAttribute("aria-label", header.kl.map((x, i) => `step ${i + 1}: ${x.toFixed(1)} nats`).join(", "));
    $("kl").replaceChildren(...header.kl.map((x, i) => {
      const bar = document.createElement("i");
      bar.style.height = `${(100 * Math.max(0, x)) / most}%`;
      bar.title = `step ${i + 1}: ${x.toFixed(2)} nats`;
      return bar;
    }));
  } else if (!place.anywhere && typeof state.camera !== "number") {
    $("surprise").textContent = "–";
    $("kl").replaceChildren();
  }
  const canvases = $("samples").querySelectorAll("canvas");
  if ("index" in header) paint(canvases[header.index], parts.sample);
  if (parts.mean) {
    paint(canvases[run.samples], parts.mean);
    paint(canvases[run.samples + 1], parts.spread);
    $("spread").textContent = `spread: ±${header.spread.toFixed(1)} of 255`;
    document.body.dataset.settled = header.id; // all that was asked for is on the page
  }
}

// ---------------------------------------------------------------- the strip of views

function showViews() {
  const [count, height, width] = images.views.shape;
  const size = height * width * 3;
  const items = [];
  for (let i = 0; i < count; i++) items.push(viewItem(i, `View ${i + 1}`, images.views.bytes.subarray(i * size, (i + 1) * size)));
  let apart = " apart";
  state.context.forEach((where, n) => {
    if (typeof where === "number") return;
    const item = viewItem(where, "A view you added", images.context.bytes.subarray(n * size, (n + 1) * size));
    item.className += apart;
    apart = "";
    items.push(item);
  });
  $("views").replaceChildren(...items);

  function viewItem(where, name, bytes) {
    const item = document.createElement("li");
    item.where = where;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
    const canvas = document.createElement("canvas");
    paint(canvas, { bytes, shape: [height, width, 3] });
    button.append(canvas);
    button.setAttribute("aria-label", `${name}: seen by the network`);
    button.onclick = () => toggle(where);
    const go = Object.assign(document.createElement("button"), { type: "button", className: "go", textContent: "◎" });
    go.title = "Move the camera there";
    go.setAttribute("aria-label", `${name}: move the camera there`);
    go.onclick = () => goTo(where);
    item.append(button, go);
    return item;
  }
  markSeen();
}

function markSeen() {
  for (const item of $("views").children) item.firstChild.setAttribute("aria-pressed", seen(item.where));
  const many = state.context.length > run.trained ? `In training it was shown ${run.trained} at most. ` : "";
  const strange = state.dataset === run.dataset ? "" : "It was trained on other scenes, and has never met such ones.";
  $("beyond").textContent = many + strange;
}

function markHere() {
  for (const item of $("views").children) item.classList.toggle("here", same(item.where, state.camera) || sameAsView(item.where));
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const seen = (where) => state.context.some((view) => same(view, where));
const poseOf = (where) => (typeof where === "number" ? place.poses[where] : where);
const sameAsView = (where) => typeof where === "number" && here && same(rounded(place.poses[where]), here);

function toggle(where) {
  if (!seen(where)) {
    if (state.context.length >= run.most) return say(`The network is shown ${run.most} views at most.`);
    state.context.push(where);
  } else if (state.context.length > 1) {
    state.context = state.context.filter((view) => !same(view, where));
  } else {
    return say("It has to be shown one view at least.");
  }
  say("");
  contextChanged(Array.isArray(where));
}

function contextChanged(strip) {
  if (strip) return open();
  markSeen();
  look();
  refreshGain();
}

function goTo(where) {
  state.camera = Array.isArray(where) ? rounded(where) : where;
  moves = { turn: 0, tilt: 0, ahead: 0, aside: 0 };
  look();
}

// ---------------------------------------------------------------- the map

const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis
function colour(t) {
  const at = Math.min(Math.max(t, 0), 1) * (STOPS.length - 1);
  const i = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[i].map((low, c) => Math.round(low + (at - i) * (STOPS[i + 1][c] - low)));
}
const along = (yaw) => [Math.cos(yaw), place.clockwise ? -Math.sin(yaw) : Math.sin(yaw)]; // where a level camera looks
const yawOf = (x, y) => Math.atan2(place.clockwise ? -y : y, x);
const onPaper = (yaw) => Math.atan2(-along(yaw)[1], along(yaw)[0]); // as angles on a canvas are
const forward = ([, , , yaw, pitch]) => [...along(yaw).map((x) => x * Math.cos(pitch)), Math.sin(pitch)];
const TOP = 1.65; // radians: the pitch at the map's edges, beyond the steepest

// Half the side of what the map shows, in units of camera positions: the plan, and all cameras.
const reach = () => Math.max(1.15 * place.plan[2], ...place.poses.map((p) => 1.1 * Math.max(...[0, 1].map((i) => Math.abs(p[i] - place.plan[i])))));
function onMap(pose) { // in [0, 1]
  const [x, y] = place.plan;
  if (place.motion !== "sphere") return [0.5 + (pose[0] - x) / reach() / 2, 0.5 - (pose[1] - y) / reach() / 2];
  const full = 2 * Math.PI;
  return [(((pose[3] % full) + full) % full) / full, (pose[4] + TOP) / TOP / 2];
}

let drawing = false;
function drawMap() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (place) paintMap();
  });
}

function paintMap() {
  const canvas = $("map"), sphere = place.motion === "sphere";
  const css = getComputedStyle(document.documentElement), tint = (name) => css.getPropertyValue(name).trim();
  const scale = window.devicePixelRatio || 1, w = canvas.clientWidth, h = sphere ? Math.round(w * 0.72) : w;
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) {
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, w, h);
  pen.fillStyle = tint("--wash");
  pen.beginPath();
  pen.roundRect(0, 0, w, h, 6);
  pen.fill();
  const low = Math.min(...gains.map((g) => g.gain)), high = Math.max(...gains.map((g) => g.gain));
  const shade = (gain) => `rgb(${colour((gain - low) / Math.max(high - low, 1e-9))})`;
  if (images.plan) {
    const plan = Object.assign(document.createElement("canvas"), {});
    paint(plan, images.plan);
    const side = (w * place.plan[2]) / reach();
    pen.globalAlpha = 0.4;
    pen.drawImage(plan, (w - side) / 2, (h - side) / 2, side, side);
    pen.globalAlpha = 1;
  }
  if (sphere && gains.length) pen.drawImage(field(low, high), 0, 0, w, h);
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = sphere && gains.length ? "#fff" : tint("--soft");
  if (sphere) {
    pen.fillText("from above", 8, 15);
    pen.fillText("from below", 8, h - 7);
  } else if (!images.plan) {
    pen.strokeStyle = tint("--line");
    pen.lineWidth = 1.5;
    const side = (w * place.plan[2]) / reach();
    if (place.motion === "walk") pen.strokeRect((w - side) / 2, (h - side) / 2, side, side);
    else {
      pen.beginPath();
      pen.arc(w / 2, h / 2, 6, 0, 7);
      pen.stroke();
    }
  }
  if (!sphere) for (const { pose, gain } of gains) mark(pose, shade(gain), null, 6);
  place.poses.forEach((pose, i) => { if (!seen(i)) mark(pose, null, sphere && gains.length ? "#fff" : tint("--unseen"), 5); });
  for (const where of state.context) mark(poseOf(where), tint("--accent"), "#fff", sphere ? 6.5 : 9);
  if (here && state.camera !== "above") mark(here, tint("--camera"), "#fff", sphere ? 8 : 10, true);

  function mark(pose, fill, stroke, size, cone) {
    const [u, v] = onMap(pose), x = u * w, y = v * h;
    pen.lineWidth = 1.8;
    if (cone && !sphere) { // what the camera looks at
      pen.save();
      pen.globalAlpha = 0.25;
      pen.fillStyle = fill;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.arc(x, y, w * 0.17, onPaper(pose[3]) - place.fov / 2, onPaper(pose[3]) + place.fov / 2);
      pen.fill();
      pen.restore();
    }
    pen.beginPath();
    if (sphere) pen.arc(x, y, size * 0.85, 0, 7);
    else { // a wedge that points where the camera looks
      const tip = (a, r) => [x + r * Math.cos(onPaper(pose[3]) + a), y + r * Math.sin(onPaper(pose[3]) + a)];
      pen.moveTo(...tip(0, size * 1.35));
      pen.lineTo(...tip(2.4, size));
      pen.lineTo(...tip(-2.4, size));
      pen.closePath();
    }
    if (fill) { pen.fillStyle = fill; pen.fill(); }
    if (stroke) { pen.strokeStyle = stroke; pen.stroke(); }
  }
}

function field(low, high) { // the gain between the places: a mean, weighted by nearness on the sphere
  const [w, h] = [72, 44], picture = new ImageData(w, h), places = gains.map(({ pose, gain }) => [forward(pose), gain]);
  for (let row = 0; row < h; row++) for (let column = 0; column < w; column++) {
    const [x, y, z] = forward([0, 0, 0, ((column + 0.5) / w) * 2 * Math.PI, ((row + 0.5) / h) * 2 * TOP - TOP]);
    let sum = 0, weight = 1e-9;
    for (const [[a, b, c], gain] of places) {
      const near = Math.exp(25 * (a * x + b * y + c * z - 1));
      sum += near * gain;
      weight += near;
    }
    const confidence = $("progress").hidden ? 1 : Math.min(1, weight * 2);
    picture.data.set([...colour((sum / weight - low) / Math.max(high - low, 1e-9)), 255 * confidence], 4 * (row * w + column));
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

$("map").onclick = (event) => {
  if (!place) return;
  const box = $("map").getBoundingClientRect();
  const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const far = (pose) => Math.hypot((onMap(pose)[0] - u) * box.width, (onMap(pose)[1] - v) * box.height);
  const known = [...place.poses.keys(), ...state.context.filter(Array.isArray)];
  const spots = place.motion === "sphere" ? known : [...known, ...gains.map((g) => g.pose)];
  const nearest = spots.reduce((best, where) => (far(poseOf(where)) < far(poseOf(best)) ? where : best), spots[0]);
  if (far(poseOf(nearest)) < 9) return goTo(nearest);
  if (place.motion === "sphere") return goTo([0, 0, 0, u * 2 * Math.PI, v * 2 * TOP - TOP]);
  const [x, y] = [place.plan[0] + (2 * u - 1) * reach(), place.plan[1] + (1 - 2 * v) * reach()], pose = here ?? place.poses[0];
  goTo(place.motion === "walk" ? [x, y, pose[2], pose[3], pose[4]] : [x, y, pose[2], yawOf(-x, -y), 0]);
};

function refreshGain() {
  gains = [];
  latest.gain = 0; // what still comes is of no interest
  $("best").disabled = true;
  $("scale").hidden = true;
  if ($("gain").getAttribute("aria-pressed") === "true") {
    if (!$("orbit").disabled) ask("gain"); // of what works in the background the newest wins
    $("progress").hidden = false;
    $("progress").value = 0;
  }
  drawMap();
}

function stopGain() {
  $("gain").setAttribute("aria-pressed", "false");
  $("progress").hidden = true;
}

function showGain({ pose, gain, done, total }) {
  gains.push({ pose, gain });
  $("progress").value = done / total;
  $("progress").hidden = done === total;
  const values = gains.map((g) => g.gain);
  const [low, high] = [Math.min(...values), Math.max(...values)], digits = high < 1 ? 3 : 1;
  $("low").textContent = low.toFixed(digits);
  $("high").textContent = `${high.toFixed(digits)} nats`;
  $("scale").hidden = false;
  $("best").disabled = done < total;
  drawMap();
}

$("gain").onclick = () => {
  const on = $("gain").getAttribute("aria-pressed") !== "true";
  $("gain").setAttribute("aria-pressed", on);
  $("progress").hidden = true;
  refreshGain();
};
$("best").onclick = () => goTo(gains.reduce((a, b) => (b.gain > a.gain ? b : a)).pose);

// ---------------------------------------------------------------- moving

const held = new Map(); // key: when it was last acted on

function act() {
  const now = performance.now();
  for (const [key, since] of held) {
    const [what, sign] = KEYS[key];
    nudge(what, sign, (now - since) / 1000);
    held.set(key, now);
  }
  if (held.size) {
    look();
    requestAnimationFrame(act);
  }
}

function nudge(what, sign, seconds) {
  if (!place) return;
  if (place.motion !== "walk" && what === "aside") what = "turn";
  if (what === "up") what = place.motion === "walk" ? "ahead" : "tilt";
  if (place.motion === "sphere" && what === "ahead") what = "tilt";
  moves[what] += sign * SPEED[what] * Math.min(seconds, 0.1);
}

function hold(key) {
  if (held.has(key)) return;
  held.set(key, performance.now() - 16);
  if (held.size === 1) act();
}

document.addEventListener("keydown", (event) => {
  let key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS) || key === "left" || key === "right") return;
  const on = event.target;
  if (on.matches("input, select") || (key.startsWith("arrow") && on !== $("sample"))) return;
  event.preventDefault();
  hold(key);
});
document.addEventListener("keyup", (event) => held.delete(event.key.toLowerCase()));
window.addEventListener("blur", () => held.clear());

for (const button of $("pad").children) {
  const key = button.dataset.move;
  button.onpointerdown = (event) => { button.setPointerCapture(event.pointerId); hold(key); };
  button.onpointerup = button.onpointercancel = () => held.delete(key);
  button.onclick = (event) => { if (event.detail === 0) { nudge(...KEYS[key], 0.1); look(); } }; // by keyboard
}

const sample = $("sample");
let dragged = null; // where the pointer was
sample.addEventListener("pointerdown", (event) => {
  sample.setPointerCapture(event.pointerId);
  dragged = event;
});
sample.addEventListener("pointerup", () => (dragged = null));
sample.addEventListener("pointercancel", () => (dragged = null));
sample.addEventListener("pointermove", (event) => {
  if (event.pointerId !== dragged?.pointerId || !place) return;
  const side = sample.clientWidth;
  const dx = (event.clientX - dragged.clientX) / side, dy = (event.clientY - dragged.clientY) / side;
  dragged = event;
  if (place.motion === "walk") {
    moves.turn -= dx * TURN / 2; // what is dragged is the world
    moves.ahead -= dy;
  } else {
    moves.turn -= dx * TURN;
    moves.tilt += dy * TURN / 2;
  }
  if (dx || dy) look();
});

// ---------------------------------------------------------------- the other controls

$("add").onclick = () => {
  state.context.push(state.camera);
  contextChanged(Array.isArray(state.camera));
};
$("above").onclick = () => goTo("above");
$("anew").onclick = () => { state.seed = fresh(); look(); };
$("hold").onchange = () => look();
$("step").oninput = () => { state.step = +$("step").value === run.steps ? 0 : +$("step").value; stepShown(); look(); };
function stepShown() {
  $("step").value = state.step || run.steps;
  $("step-shown").textContent = `${state.step || run.steps} of ${run.steps}`;
}

function change(values) { // to another scene
  Object.assign(state, { context: [0, 1], camera: null }, values);
  linked = false;
  say("");
  open();
}
$("dataset").onchange = () => change({ dataset: $("dataset").value });
$("scene").onchange = () => {
  const number = Math.min(Math.max(Math.round(+$("scene").value) || 0, 0), 999999);
  change({ scene: number });
};
$("previous").onclick = () => change({ scene: Math.max(0, state.scene - 1) });
$("next").onclick = () => change({ scene: Math.min(999999, state.scene + 1) });
$("any").onclick = () => change({ scene: Math.floor(Math.random() * 1e6) });
$("chooser").onsubmit = (event) => event.preventDefault();

$("picture").onclick = () => {
  const side = 256, gap = 16, thumb = 64, panels = ["sample", "truth", "difference"];
  const seenViews = [...$("views").children].filter((item) => seen(item.where));
  const width = gap + 3 * (side + gap), each = Math.floor((width - gap) / (thumb + 8));
  const top = 40 + Math.ceil(seenViews.length / each) * (thumb + 8);
  const sheet = Object.assign(document.createElement("canvas"), { width, height: top + 30 + side + gap });
  const pen = sheet.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, sheet.width, sheet.height);
  pen.fillStyle = "#222";
  pen.font = "14px system-ui, sans-serif";
  pen.imageSmoothingQuality = "high";
  pen.fillText(`${run.run}: scene ${state.scene} of ${state.dataset}; seen by the network:`, gap, 26);
  seenViews.forEach((item, i) => pen.drawImage(item.querySelector("canvas"),
    gap + (i % each) * (thumb + 8), 40 + Math.floor(i / each) * (thumb + 8), thumb, thumb));
  ["its picture from here", "the truth", "their difference"].forEach((name, i) => {
    pen.fillText(name, gap + i * (side + gap), top + 20);
    pen.drawImage($(panels[i]), gap + i * (side + gap), top + 30, side, side);
  });
  sheet.toBlob((blob) => save(blob, `${state.dataset}-${state.scene}.png`));
};
$("orbit").onclick = () => { $("orbit").disabled = true; ask("orbit"); };
function showOrbit(header, parts) {
  if (!parts.file) return say(`The camera goes around: ${header.done} of ${header.total} views.`);
  save(new Blob([parts.file.bytes], { type: "image/webp" }), header.name);
  say("");
  endOrbit();
}
function endOrbit() {
  if (!$("orbit").disabled) return;
  $("orbit").disabled = false;
  if ($("best").disabled) refreshGain(); // it had made way
}
function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---------------------------------------------------------------- links

const asText = (where) => (Array.isArray(where) ? where.join("_") : `${where}`);
const asWhere = (text) => (text.includes("_") ? text.split("_").map(Number) : text === "above" ? text : +text);

function link() {
  const { dataset, scene, context, camera, seed, step } = state;
  const values = { data: dataset, scene, seen: context.map(asText).join(","), camera: asText(camera), noise: seed, step };
  history.replaceState(null, "", "#" + Object.entries(values).map(([k, v]) => `${k}=${v}`).join("&"));
}

function fromLink() {
  const given = new URLSearchParams(location.hash.slice(1)), values = {};
  if (given.has("data")) values.dataset = given.get("data");
  if (given.has("scene")) values.scene = +given.get("scene");
  if (given.has("seen")) values.context = given.get("seen").split(",").map(asWhere);
  if (given.has("camera")) values.camera = asWhere(given.get("camera"));
  if (given.has("noise")) values.seed = +given.get("noise");
  if (given.has("step")) values.step = +given.get("step");
  return values;
}

window.addEventListener("hashchange", () => { change(fromLink()); linked = true; });

// ---------------------------------------------------------------- drawing

function paint(canvas, { bytes, shape }) {
  const [height, width] = shape;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.pixels ??= new ImageData(width, height);
  if (canvas.pixels.width !== width || canvas.pixels.height !== height) canvas.pixels = new ImageData(width, height);
  const rgba = canvas.pixels.data;
  for (let i = 0, o = 0; i < bytes.length; i += 3, o += 4) {
    rgba[o] = bytes[i];
    rgba[o + 1] = bytes[i + 1];
    rgba[o + 2] = bytes[i + 2];
    rgba[o + 3] = 255;
  }
  canvas.getContext("2d").putImageData(canvas.pixels, 0, 0);
}

const clear = (canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);

function tiles() {
  const names = [...Array(run.samples).keys()].map((i) => `${i + 1}`);
  return [...names, "mean", "spread"].map((name, i) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    caption.textContent = name;
    if (i > run.samples) caption.id = "spread";
    if (i >= run.samples) figure.className = "sum";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", i < run.samples ? `draw ${name}` : name);
    figure.append(canvas, ...(i < run.samples ? [] : [caption]));
    return figure;
  });
}

const say = (text) => ($("status").textContent = text);

let arrivals = [], delays = [];
function speed(delay) {
  const now = performance.now();
  arrivals = [...arrivals.filter((at) => now - at < 1000), now];
  delays = [...delays.slice(-59), delay];
  const median = [...delays].sort((a, b) => a - b)[delays.length >> 1];
  if (delays.length > 5) $("speed").textContent = `${arrivals.length > 1 ? `${arrivals.length} pictures in the last second, ` : ""}${median.toFixed(0)} ms from camera to picture`;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
new ResizeObserver(drawMap).observe($("map").parentElement);
connect();
