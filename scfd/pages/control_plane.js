// The page of the control plane for development.
import {age, byId, cell, fill, grow, say} from "/common.js";

const REFRESH = 2000;  // milliseconds
const RESULTS_SHOWN = 50;
const LATE = 20;  // seconds; a node reports in every 9 by default
const STATUSES = {
  0: ["pending", "quiet"], 1: ["running", "quiet"], 2: ["success", "good"],
  3: ["partly failed", "warn"], 4: ["failed", "bad"],
};

const statusCell = (status) => cell(...(STATUSES[status] || [`status ${status}`, "quiet"]));

function show(state) {
  const last = new Map(state.results.map((result) => [result.task_id, result]));
  const counts = state.counts;
  byId("counts").textContent =
    `${counts.heartbeats} heartbeats, ${counts.results} results: ` +
    `${counts.succeeded} succeeded, ${counts.failed} failed`;
  fill("nodes", state.nodes.map((node) => [
    cell(node.node_id, "whole"), cell(node.version), cell(age(node.last_heartbeat, LATE)),
    cell(node.heartbeats, "number"), cell(node.tasks_md5, "mono whole"),
    cell(Object.keys(node.extra).length ? JSON.stringify(node.extra) : "", "mono"),
  ]), "no node has reported in yet");
  fill("tasks", state.tasks.map((task) => {
    const result = last.get(task.task_id);
    const style = result && STATUSES[result.status] ? STATUSES[result.status][1] : "quiet";
    return [
      cell(task.task_id + (task.invalid ? " (invalid)" : "")), cell(task.task_params, "mono"),
      cell(counts.by_task[task.task_id] || 0, "number"),
      cell(result ? result.result || STATUSES[result.status]?.[0] || "" : "none yet", style),
      cell(result ? age(result.at) : ""),
    ];
  }), "there are no tasks");
  fill("results", state.results.slice(-RESULTS_SHOWN).reverse().map((result) => [
    cell(age(result.at)), cell(result.task_id), cell(result.node_id), statusCell(result.status),
    cell(result.result),
  ]), "no task has been reported yet");
}

const form = byId("faults");
const switches = form.elements;
let edited = false;  // what a person is typing is not overwritten

function showFaults(faults) {
  const on = [];
  if (faults.down) on.push("down");
  if (faults.slow) on.push(`responses ${faults.slow} s late`);
  if (faults.status) on.push(`status ${faults.status}`);
  if (faults.package_version) on.push(`new version ${faults.package_version}`);
  if (faults.refuse.length) on.push(`reports of ${faults.refuse.join(", ")} refused`);
  if (faults.initializing) on.push("initializing");
  if (faults.unknown_nodes) on.push("nodes are unknown");
  say("faults-on", on.length ? `Faults are on: ${on.join("; ")}` : "");
  if (edited) return;
  switches.down.checked = faults.down;
  switches.slow.value = faults.slow || "";
  switches.status.value = faults.status || "";
  switches.package_version.value = faults.package_version;
  switches.refuse.value = faults.refuse.join("\n");
  switches.initializing.checked = faults.initializing;
  switches.unknown_nodes.checked = faults.unknown_nodes;
}

async function switchFaults(changes) {
  try {
    const response = await fetch("/faults", {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(changes),
      signal: AbortSignal.timeout(5000),
    });
    const faults = await response.json();
    if (!response.ok) throw new Error(faults.message);
    edited = false;
    showFaults(faults);
    say("faults-mistake", "");
  } catch (error) {
    say("faults-mistake", `not applied: ${error.message}`);
  }
}

form.addEventListener("input", () => { edited = true; });
form.addEventListener("submit", (event) => {
  event.preventDefault();
  switchFaults({
    down: switches.down.checked,
    slow: Number(switches.slow.value),
    status: Number(switches.status.value),
    package_version: switches.package_version.value.trim(),
    refuse: switches.refuse.value.split("\n").map((line) => line.trim()).filter((line) => line),
    initializing: switches.initializing.checked,
    unknown_nodes: switches.unknown_nodes.checked,
  });
});
byId("faults-off").addEventListener("click", () => {
  switchFaults({
    down: false, slow: 0, status: 0, package_version: "", refuse: [], initializing: false, unknown_nodes: false,
  });
});

async function refresh() {
  try {
    const response = await fetch("/state", {signal: AbortSignal.timeout(5000)});
    if (!response.ok) throw new Error(`status ${response.status}`);
    const state = await response.json();
    show(state);
    showFaults(state.faults);
    byId("node-link").hidden = !state.node_page;
    if (state.node_page) byId("node-link").href = state.node_page;
    say("connection", "live", "good");
  } catch {
    say("connection", "the control plane does not respond; what you see is old", "bad");
  }
  setTimeout(refresh, REFRESH);
}

refresh();
setInterval(grow, 1000);
