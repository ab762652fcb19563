// The page of a node: what it is, whether it is well, and what can be done about it.
import {age, byId, cell, duration, element, fill, grow, say} from "/common.js";

const EVENTS_SHOWN = 100;
const TASKS_SHOWN = 100;
const TRIGGERS_SHOWN = 500;
const RESULT = {
  0: ["pending", "quiet"], 1: ["running", "quiet"], 2: ["success", "good"], 3: ["partly failed", "warn"],
  4: ["failed", "bad"],
};
const OUTCOME = {
  "succeeded": "good", "failed": "bad", "tasks failed": "warn", "not sent": "quiet", "cancelled": "quiet",
  "running": "quiet",
};
const TOKEN = "scfd-token";
let events = [];
let known = new Set();
let missing = new Set();  // methods that this node does not have

const headers = () => {
  const token = sessionStorage.getItem(TOKEN);
  // A header is a string of bytes for fetch: of those that the token has in UTF-8.
  return token ? {Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`} : {};
};

class Unauthorized extends Error {}
class Refused extends Error {}

async function rpc(method, params = {}) {
  const response = await fetch("/rpc", {
    method: "POST",
    headers: {"Content-Type": "application/json", ...headers()},
    body: JSON.stringify({jsonrpc: "2.0", id: 1, method, params}),
  });
  if (response.status === 401) throw new Unauthorized("the token is not right");
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  const answer = await response.json();
  if (answer.error) {
    if (answer.error.code === -32601) missing.add(method);
    throw new Error(answer.error.message);
  }
  return answer.result;
}

// Actions: each asks first, and says what became of it.
function confirmed(question, consequence, yes) {
  const dialog = byId("confirm");
  byId("question").textContent = question;
  byId("consequence").textContent = consequence;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), {once: true});
  });
}

function button(text, label, question, consequence, act) {
  const made = element("button", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", () => perform(made, question, consequence, text, act));
  return made;
}

async function perform(from, question, consequence, yes, act) {
  if (question && !await confirmed(question, consequence, yes)) return;
  from.disabled = true;
  try {
    say("outcome", "");
    await act();
  } catch (error) {
    say("outcome", `${yes}: ${error.message}`);
  } finally {
    from.disabled = false;
    refresh();
  }
}

function showStatus(status) {
  byId("login").hidden = true;
  byId("node").hidden = false;
  const title = `${status.name || "scfd node"} ${status.version}`.trim();
  byId("name").textContent = title;
  document.title = `${status.ready ? "" : "(not ready) "}${title}`;
  const well = status.ready ? (status.problems.length ? ["ready, with warnings", "warn"] : ["ready", "good"])
    : [status.phase === "running" ? "not ready" : status.phase, "bad"];
  say("state", well[0], `badge ${well[1]}`);
  const facts = [
    ["id", status.node_id || "none yet"], ["plugin", status.plugin], ["up", duration(status.uptime)],
    ["control plane", status.control_plane || "none yet"], ["tasks", status.tasks],
    ["events", `${status.events.running} running, ${status.events.succeeded} succeeded, ` +
      `${status.events.failed} failed`],
    ["results", `${status.reports.pending} to deliver, ${status.reports.delivered} delivered`],
    ["scfd", status.scfd],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value]) => {
    const span = element("span", `${name} `);
    span.append(element("b", String(value)));
    return span;
  }));
  byId("restart").hidden = !status.plugin_restarts;
  const link = byId("control-plane-link");
  link.hidden = !status.control_plane_page;
  if (status.control_plane_page) link.href = status.control_plane_page;
  const list = byId("problems");
  const said = JSON.stringify(status.problems);
  if (list.dataset.said !== said) {
    list.dataset.said = said;
    list.replaceChildren(...status.problems.map((problem) => {
      const item = element("li", "", problem.severity);
      item.append(element("b", `${problem.component}: `), `${problem.reason}, since `, age(problem.since));
      if (problem.advice) item.append(element("p", problem.advice));
      return item;
    }));
  }
}

function strip(outcomes) {
  const made = element("span", "", "strip");
  made.setAttribute("role", "img");
  const failed = outcomes.filter((outcome) => outcome !== "succeeded").length;
  made.setAttribute("aria-label", `of the last ${outcomes.length} events ${failed} did not succeed`);
  made.append(...outcomes.map((outcome) => {
    const mark = element("i", "", OUTCOME[outcome]);
    mark.title = outcome;
    return mark;
  }));
  return made;
}

function next(one) {
  if (one.paused) return element("span", "paused", "warn");
  if (one.type === "timer") return one.next ? age(one.next) : "never";
  return one.problem || (one.pending === null ? "unknown" : `${one.pending} waiting`);
}

function last(one) {
  if (!one.last) return "";
  return [element("span", `${one.last.outcome} `, OUTCOME[one.last.outcome]), age(one.last.at)];
}

function triggerRow(one) {
  const source = one.type === "timer" ? one.cron : `${one.stream} ${one.subject}`;
  const fire = button("Fire", `Fire ${one.name}`, `Fire ${one.name} now?`,
    "The plugin gets an event as the trigger would make it, with all tasks.",
    () => rpc("trigger.fire", {name: one.name}));
  const pause = one.paused
    ? button("Resume", `Resume ${one.name}`, "", "", () => rpc("trigger.resume", {name: one.name}))
    : button("Pause", `Pause ${one.name}`, `Pause ${one.name}?`,
      "It makes no events until it is resumed, or the node is restarted.",
      () => rpc("trigger.pause", {name: one.name}));
  const buttons = element("span", "", "buttons");
  buttons.append(...(one.type === "timer" ? [fire] : []), pause);
  return [
    cell([element("b", one.name), element("br"), element("span", source, "quiet mono")]),
    cell(next(one)), cell(strip(one.outcomes)), cell(last(one)),
    cell(String(one.events.succeeded), "number"),
    cell(String(one.events.failed), one.events.failed ? "number bad" : "number"), cell(buttons),
  ];
}

function eventRow(one) {
  const open = element("button", one.trigger, "link");
  open.type = "button";
  open.setAttribute("aria-label", `Event ${one.id} of ${one.trigger}`);
  open.addEventListener("click", () => showEvent(one.id));
  const results = Object.entries(one.statuses).map(([status, count]) =>
    `${count} ${(RESULT[status] || [`of status ${status}`])[0]}`).join(", ");
  return [
    cell(age(one.at)), cell(open),
    cell(one.outcome + (one.delivery > 1 ? `, delivery ${one.delivery}` : ""), OUTCOME[one.outcome]),
    cell(duration(one.seconds)), cell(duration(one.lateness)), cell(results), cell(one.error.slice(0, 200)),
  ];
}

function showEvents() {
  const failed = byId("only-failed").checked;
  const shown = events.filter((one) => !failed || one.outcome !== "succeeded").slice(0, EVENTS_SHOWN);
  fill("events", shown.map(eventRow), failed ? "no event has failed" : "no events yet").forEach((tr, index) => {
    const one = shown[index];
    if (one && known.size && !known.has(one.id)) tr.className = "new";
  });
  known = new Set(events.map((one) => one.id));
}

async function showEvent(id) {
  const dialog = byId("event");
  try {
    const one = await rpc("event.get", {id});
    byId("event-title").textContent = `${one.trigger}: ${one.outcome}`;
    const body = byId("event-body");
    body.replaceChildren(element("p", `event ${one.id}, ${new Date(one.at).toLocaleString()}, ` +
      `took ${duration(one.seconds)}`));
    if (one.error) body.append(element("p", one.error, "bad"));
    if (one.traceback) body.append(element("pre", one.traceback));
    if (one.task_results?.length) {
      body.append(element("pre", one.task_results.map((result) =>
        `${result.task_id}: ${(RESULT[result.status] || [result.status])[0]} ${result.result}`).join("\n")));
    }
    body.append(element("pre", Object.entries(one.metadata || {}).map((pair) => pair.join(": ")).join("\n")));
    const act = byId("event-act");
    const running = one.outcome === "running";
    act.textContent = running ? "Cancel event" : "Replay";
    act.onclick = async () => {
      dialog.close();
      await perform(act, running ? "Cancel this event?" : "Have the plugin handle this event once more?",
        running ? "It counts as failed; a message is given back." :
          "A message as it was; a timer's event with the tasks that failed.",
        act.textContent, () => rpc(running ? "event.cancel" : "event.replay", {id}));
    };
    dialog.showModal();
  } catch (error) {
    say("outcome", error.message);
  }
}

function showTasks(tasks) {
  say("task-count", tasks.length >= TASKS_SHOWN ? `the first ${TASKS_SHOWN}` : "");
  fill("tasks", tasks.map((task) => {
    const [word, style] = task.status === null ? ["none yet", "quiet"]
      : RESULT[task.status] || [`status ${task.status}`, "quiet"];
    return [
      cell(task.task_id + (task.valid ? "" : " (not valid)")), cell(word, style), cell(task.result),
      cell(task.at ? age(task.at) : ""),
    ];
  }), "there are no tasks");
}

function showReports(reports) {
  fill("reports", reports.map((one) => {
    const buttons = element("span", "", "buttons");
    const seqs = {seqs: [one.seq]};
    if (one.state !== "pending") {
      buttons.append(button("Retry", `Retry the result of ${one.task_id}`, "", "", () => rpc("report.retry", seqs)));
    }
    buttons.append(button("Discard", `Discard the result of ${one.task_id}`, "Discard this result?",
      "The control plane will never get it.", () => rpc("report.discard", seqs)));
    return [
      cell(one.task_id), cell(one.state, one.state === "pending" ? "" : "bad"),
      cell(`${(RESULT[one.status] || [one.status])[0]} ${one.result}`), cell(one.words), cell(buttons),
    ];
  }), "every result is delivered");
}

function showLetters(letters) {
  fill("letters", letters.map((one) => {
    const which = {trigger: one.trigger, sequence: one.sequence};
    const buttons = element("span", "", "buttons");
    buttons.append(
      button("Replay", `Replay letter ${one.sequence}`, "Have the plugin handle this message?",
        "When it succeeds, the letter is deleted.", async () => {
          const event = await rpc("dead_letter.replay", which);
          if (event.outcome !== "succeeded") throw new Error(`${event.outcome}: ${event.error}`);
        }),
      button("Discard", `Discard letter ${one.sequence}`, "Delete this letter?", "The message is lost.",
        () => rpc("dead_letter.discard", which)));
    return [
      cell(one.trigger), cell(String(one.sequence)), cell(age(one.at)), cell(one.reason, "bad"),
      cell(one.preview, "mono"), cell(buttons),
    ];
  }), "there are none");
}

// What is asked for now and then; the rest comes by itself.
const SLOW = [
  ["task.list", {limit: TASKS_SHOWN}, showTasks],
  ["report.list", {limit: 50}, showReports],
  ["dead_letter.list", {}, showLetters],
];
const SECTIONS = {"report.list": "reports-section", "dead_letter.list": "letters-section"};

async function ask(method, params, show) {
  if (missing.has(method)) return;
  try {
    show(await rpc(method, params));
  } catch (error) {
    if (missing.has(method) && SECTIONS[method]) byId(SECTIONS[method]).hidden = true;
    else if (error instanceof Unauthorized) askForToken(error);
  }
}

let asking = false;
let again = false;

async function refresh() {
  if (asking) { again = true; return; }
  asking = true;
  await ask("trigger.list", {match: byId("trigger-match").value, limit: TRIGGERS_SHOWN}, (found) => {
    say("trigger-count", found.length >= TRIGGERS_SHOWN ? `the first ${TRIGGERS_SHOWN}` : "");
    keepFocus(() => fill("triggers", found.map(triggerRow), "there are no such triggers"));
  });
  for (const [method, params, show] of SLOW) await ask(method, params, (found) => keepFocus(() => show(found)));
  asking = false;
  if (again) { again = false; later(); }
}

// A table that is made anew gives the focus back to the button that had it.
function keepFocus(change) {
  const label = document.activeElement?.getAttribute?.("aria-label");
  change();
  if (label && document.activeElement === document.body) {
    document.querySelector(`[aria-label="${CSS.escape(label)}"]`)?.focus();
  }
}

let waiting = null;

function later() {
  if (waiting === null) waiting = setTimeout(() => { waiting = null; refresh(); }, 1000);
}

function askForToken(error) {
  byId("node").hidden = true;
  byId("login").hidden = false;
  say("state", "locked", "badge quiet");
  if (sessionStorage.getItem(TOKEN)) say("login-mistake", error.message);
  sessionStorage.removeItem(TOKEN);
}

function received(kind, data) {
  if (kind === "status") {
    showStatus(data);
  } else if (kind === "events") {
    events = [...data.reverse(), ...events.filter((one) => one.number)].slice(0, 1000);
    keepFocus(showEvents);
  }
  later();
}

// Server-sent events. EventSource can't send the token, so they are read here.
async function listen() {
  const response = await fetch("/events", {headers: {Accept: "text/event-stream", ...headers()}});
  if (response.status === 401) throw new Unauthorized("the token is not right");
  if (!response.ok) throw new Refused((await response.json()).message);
  say("connection", "live", "good");
  events = await rpc("event.list", {limit: EVENTS_SHOWN});
  showEvents();
  refresh();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    text += value;
    const whole = text.split("\n\n");
    text = whole.pop();
    for (const message of whole) {
      const kind = /^event: (.*)$/m.exec(message);
      const data = /^data: (.*)$/m.exec(message);
      if (kind && data) received(kind[1], JSON.parse(data[1]));
    }
  }
}

async function stayConnected() {
  for (;;) {
    let why = "the node does not respond";
    try {
      await listen();
    } catch (error) {
      if (error instanceof Unauthorized) { askForToken(error); return; }
      if (error instanceof Refused) why = error.message;
    }
    say("connection", `${why}; what you see is old`, "bad");
    say("state", "unknown", "badge quiet");
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value);
  byId("token").value = "";
  say("login-mistake", "");
  stayConnected();
});
byId("trigger-match").addEventListener("input", later);
byId("only-failed").addEventListener("change", showEvents);
byId("restart").addEventListener("click", (event) => perform(event.currentTarget, "Restart the plugin?",
  "Its process is ended and started again; events wait meanwhile.", "Restart", () => rpc("plugin.restart")));
byId("drain").addEventListener("click", (event) => perform(event.currentTarget, "Drain this node?",
  "It finishes what is under way, and its process ends.", "Drain", () => rpc("node.drain")));
setInterval(grow, 1000);
setInterval(later, 5000);
stayConnected();
