// What the page does beyond its HTML: values under the pointer, live parts, forms that answer in place, the SQL editor.
// Every page works without this script. Texts of the server are set as text, never as HTML.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes, text) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
}

function draw(name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
}

function short(value) {
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return String(value);
    return size === 0 || (size >= 1e-3 && size < 1e6) ? String(+value.toFixed(4)) : value.toExponential(3);
}

// ---- The values under the pointer, in each chart.

function pairs(text) {
    return text.split(" ").filter(Boolean).map((pair) => pair.split(",").map(Number));
}

function watchChart(svg) {
    const figure = svg.closest("figure");
    const lines = [...svg.querySelectorAll("polyline[data-values]")].map((line) => ({
        name: line.dataset.name, kind: line.dataset.kind,
        at: pairs(line.getAttribute("points")), values: pairs(line.dataset.values), labels: JSON.parse(line.dataset.labels || "null"),
    }));
    if (!figure || !lines.length) return;
    const mark = draw("line", { class: "at", y1: svg.dataset.top, y2: svg.dataset.bottom, visibility: "hidden" });
    const dots = lines.map((line) => draw("circle", { class: "dot " + line.kind, r: 4, visibility: "hidden" }));
    svg.append(mark, ...dots);
    const tip = make("div", { class: "tip", hidden: "" });
    figure.append(tip);
    const hide = () => {
        tip.hidden = true;
        [mark, ...dots].forEach((node) => node.setAttribute("visibility", "hidden"));
    };
    const show = (event) => {
        const box = svg.getBoundingClientRect();
        const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
        const nearest = lines.map((line) => {
            let best = 0;
            line.at.forEach(([at], index) => { if (Math.abs(at - x) < Math.abs(line.at[best][0] - x)) best = index; });
            return best;
        });
        let place = null;
        lines.forEach((line, index) => {
            const [at] = line.at[nearest[index]];
            if (place === null || Math.abs(at - x) < Math.abs(place - x)) place = at;
        });
        tip.replaceChildren();
        lines.forEach((line, index) => {
            const [at, y] = line.at[nearest[index]];
            const [value, height] = line.values[nearest[index]];
            const is_here = Math.abs(at - place) < 1;
            dots[index].setAttribute("visibility", is_here ? "visible" : "hidden");
            if (!is_here) return;
            if (!tip.childNodes.length) tip.append(make("b", {}, line.labels ? line.labels[nearest[index]] : svg.dataset.x + " " + short(value)));
            dots[index].setAttribute("cx", at);
            dots[index].setAttribute("cy", y);
            const row = make("div", { class: line.kind });
            row.append(make("span", {}, line.name + " " + short(height)));
            tip.append(row);
        });
        mark.setAttribute("x1", place);
        mark.setAttribute("x2", place);
        mark.setAttribute("visibility", "visible");
        tip.hidden = false;
        const left = place / svg.viewBox.baseVal.width * box.width;
        const flips = left > box.width / 2;
        tip.style.top = "1rem";
        tip.style.left = flips ? "auto" : left + 14 + "px";
        tip.style.right = flips ? box.width - left + 14 + "px" : "auto";
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", hide);
}

// ---- Parts that are fetched again while they are looked at.

async function fetchPage(url, options) {
    const answer = await fetch(url, { credentials: "same-origin", ...options });
    return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function refresh() {
    const parts = [...document.querySelectorAll("[data-live]")];
    if (!parts.length || document.hidden || document.querySelector(".tip:not([hidden])")) return;
    try {
        const page = await fetchPage(location.href);
        for (const part of parts) {
            const fresh = page.getElementById(part.id);
            if (!fresh) return;
            part.replaceWith(document.importNode(fresh, true));
            prepare(document.getElementById(part.id));
        }
        // What has ended changes more than its own part.
        if (document.querySelector("[data-ended]")) location.reload();
    } catch (error) {
        // The server is away; the next try may find it.
    }
}

// ---- Forms whose answer takes the place of a part of the page.

function answerInPlace(form) {
    const target = () => document.getElementById(form.dataset.into);
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        if (form.running) return;
        const body = new URLSearchParams(new FormData(form));
        if (event.submitter && event.submitter.name) body.set(event.submitter.name, event.submitter.value);
        const stopping = new AbortController();
        form.running = true;
        const since = Date.now();
        const wait = make("p", { class: "note" }, "running… ");
        const seconds = make("span", {}, "0 s ");
        const stop = make("button", { type: "button", class: "small stop" }, "Cancel");
        stop.addEventListener("click", () => stopping.abort());
        wait.append(seconds, stop);
        target().replaceChildren(wait);
        const ticking = setInterval(() => { seconds.textContent = Math.round((Date.now() - since) / 1000) + " s "; }, 500);
        try {
            const page = await fetchPage(form.action, { method: "POST", body, signal: stopping.signal });
            const fresh = page.getElementById(form.dataset.into);
            const answer = fresh ? document.importNode(fresh, true) : make("div", { id: form.dataset.into });
            if (!fresh) answer.append(make("p", { class: "error" }, page.body.textContent.trim() || "the server gave no answer"));
            target().replaceWith(answer);
            prepare(answer);
        } catch (error) {
            const said = stopping.signal.aborted ? "cancelled" : "the server does not answer; is it running?";
            target().replaceChildren(make("p", { class: "error" }, said));
        } finally {
            clearInterval(ticking);
            form.running = false;
        }
    });
    if (form.dataset.auto !== undefined) form.requestSubmit();
}

// ---- Rows that hold what is typed.

function filterRows(input) {
    const table = document.getElementById(input.dataset.filters);
    input.addEventListener("input", () => {
        const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        for (const row of table.tBodies[0].rows) {
            const text = row.textContent.toLowerCase();
            row.hidden = !words.every((word) => text.includes(word));
        }
    });
}

function localTime(time) {
    const date = new Date(time.dateTime);
    if (!isNaN(date)) time.textContent = date.toLocaleString();
    time.title = time.dateTime;
}

// ---- A plot of a result.

const TICKS_MAX = 20;

function stepOf(low, high) {
    const rough = (high - low) / 5 || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((part) => part * power).find((candidate) => candidate >= rough * 0.999);
}

function ticks(low, high, step = stepOf(low, high)) {
    const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
    // Beyond 2^53, neighbours of a number may be further away than a step.
    const count = Math.min(last - first + 1, TICKS_MAX);
    return Array.from({ length: count }, (_, index) => (first + index) * step).filter(Number.isFinite);
}

function range(values) {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

const WIDTH = 720, HEIGHT = 320, LEFT = 64, RIGHT = 16, TOP = 12, BOTTOM = 44;

function plotChart(columns, xColumn, yColumn, kind) {
    const x = columns[xColumn], y = columns[yColumn];
    const rows = x.texts.map((_, row) => row).filter((row) => y.numbers[row] !== null && (!x.isNumber || x.numbers[row] !== null));
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${y.name} by ${x.name}` });
    if (!rows.length) return svg;
    const isNamed = !x.isNumber || kind === "bars";
    const places = rows.map((row, index) => (isNamed ? index : x.numbers[row]));
    const heights = rows.map((row) => y.numbers[row]);
    const [left, right] = isNamed ? [-0.5, rows.length - 0.5] : range(places);
    const [least, most] = range(kind === "bars" ? [0, ...heights] : heights);
    // The axis of the values ends at ticks.
    const step = stepOf(least, most);
    const low = Math.min(least, Math.floor(least / step + 1e-9) * step), high = Math.max(most, Math.ceil(most / step - 1e-9) * step);
    const toX = (value) => LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT);
    const toY = (value) => HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    for (const tick of ticks(low, high, step)) {
        svg.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: toY(tick), y2: toY(tick) }));
        svg.append(draw("text", { x: LEFT - 8, y: toY(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    const shown = isNamed ? places.filter((_, index) => index % Math.ceil(rows.length / 8) === 0) : ticks(left, right);
    for (const tick of shown) {
        const text = isNamed ? x.texts[rows[tick]] : short(tick);
        svg.append(draw("text", { x: toX(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, text.length > 14 ? text.slice(0, 13) + "…" : text));
    }
    svg.append(draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, x.name));
    svg.append(draw("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
    const at = places.map((place, index) => [toX(place), toY(heights[index])]);
    if (kind === "bars") {
        const width = Math.max(1, (WIDTH - LEFT - RIGHT) / rows.length * 0.8);
        at.forEach(([px, py], index) => {
            const zero = toY(Math.max(low, Math.min(high, 0)));
            const bar = draw("rect", { class: "bar c0", x: px - width / 2, width, y: Math.min(py, zero), height: Math.max(1, Math.abs(zero - py)) });
            bar.append(draw("title", {}, `${x.texts[rows[index]]}: ${y.texts[rows[index]]}`));
            svg.append(bar);
        });
    } else if (kind === "points") {
        at.forEach(([px, py], index) => {
            const dot = draw("circle", { class: "dot c0", cx: px, cy: py, r: 3.5 });
            dot.append(draw("title", {}, `${x.texts[rows[index]]}: ${y.texts[rows[index]]}`));
            svg.append(dot);
        });
    } else {
        const order = at.map((_, index) => index).sort((a, b) => at[a][0] - at[b][0]);
        const line = draw("polyline", { class: "line c0", points: order.map((index) => at[index].join(",")).join(" ") });
        line.dataset.name = y.name;
        line.dataset.kind = "c0";
        line.dataset.values = order.map((index) => places[index] + "," + heights[index]).join(" ");
        if (isNamed) line.dataset.labels = JSON.stringify(order.map((index) => x.texts[rows[index]]));
        Object.assign(svg.dataset, { x: x.name, top: TOP, bottom: HEIGHT - BOTTOM });
        svg.append(line);
    }
    return svg;
}

function plotResult(box) {
    const table = box.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    const columns = [...table.tHead.rows[0].cells].map((head, column) => {
        const texts = rows.map((row) => row.cells[column].textContent);
        const isNumber = head.classList.contains("n");
        const number = (row) => (row.cells[column].classList.contains("null") || !isFinite(row.cells[column].textContent) ? null : Number(row.cells[column].textContent));
        return { name: head.firstChild.textContent, texts, isNumber, numbers: isNumber ? rows.map(number) : [] };
    });
    const numeric = columns.map((column, index) => (column.isNumber ? index : -1)).filter((index) => index >= 0);
    if (rows.length < 2 || !numeric.length || columns.length < 2) return;
    const choice = (label, options, chosen) => {
        const select = make("select", { "aria-label": label });
        options.forEach(([value, text]) => select.append(make("option", { value }, text)));
        select.value = chosen;
        return select;
    };
    const first = columns[0].isNumber && numeric.length > 1 ? 0 : columns.findIndex((column) => !column.isNumber);
    const xChosen = first < 0 ? 0 : first;
    const yChosen = numeric.find((index) => index !== xChosen);
    const kind = choice("plot", [["none", "no plot"], ["line", "line"], ["points", "points"], ["bars", "bars"]], "none");
    const xSelect = choice("across", columns.map((column, index) => [index, column.name]), xChosen);
    const ySelect = choice("up", numeric.map((index) => [index, columns[index].name]), yChosen === undefined ? numeric[0] : yChosen);
    const bar = make("div", { class: "shown" });
    bar.append(make("span", {}, "Plot"), kind, ySelect, make("span", {}, "by"), xSelect);
    const figure = make("figure");
    const redraw = () => {
        const isOff = kind.value === "none";
        [xSelect, ySelect].forEach((select) => { select.disabled = isOff; });
        figure.replaceChildren();
        if (isOff) return;
        const svg = plotChart(columns, Number(xSelect.value), Number(ySelect.value), kind.value);
        figure.append(svg);
        watchChart(svg);
    };
    [kind, xSelect, ySelect].forEach((select) => select.addEventListener("change", redraw));
    box.querySelector(".scroll").before(bar, figure);
    redraw();
}

// ---- The SQL editor.

const KEYWORDS = ("ALTER MODEL,AND,AS,ASC,BETWEEN,BY,CASE,CAST,COPY,CREATE EXTERNAL TABLE,CREATE TABLE,CREATE VIEW,CROSS JOIN,DELETE FROM,DESC,DESCRIBE," +
    "DESCRIBE MODEL,DISTINCT,DROP MODEL,DROP TABLE,DROP VIEW,ELSE,END,EXCEPT,EXISTS,EXPLAIN,EXPLAIN ANALYZE,EXPORT MODEL,FALSE,FROM,FULL JOIN,GROUP BY," +
    "HAVING,ILIKE,IN,INNER JOIN,INSERT INTO,INTERSECT,IS NOT NULL,IS NULL,JOIN,LEFT JOIN,LIKE,LIMIT,LOAD MODEL,NOT,NULL,OFFSET,ON,OPTIONS,OR,OR REPLACE," +
    "ORDER BY,OVER,PARTITION BY,RIGHT JOIN,SELECT,SET,SHOW MODELS,SHOW TABLES,SUMMARIZE,TARGET,THEN,TRAIN MODEL,TRUE,UNION ALL,UPDATE,USING,VALUES,WHEN," +
    "WHERE,WITH").split(",");

// The words that may stand at the cursor, with what they are.
function candidates(names, before, whole) {
    const word = /[A-Za-z_][\w]*$/.exec(before);
    const typed = word ? word[0] : "";
    const lead = before.slice(0, before.length - typed.length);
    const owner = /([A-Za-z_]\w*)\.$/.exec(lead);
    const lower = typed.toLowerCase();
    let known = [];
    if (owner) {
        known = (names.tables[owner[1]] || []).map((name) => [name, "column"]);
        const prefix = owner[1] + ".";
        known.push(...Object.keys(names.tables).filter((name) => name.startsWith(prefix)).map((name) => [name.slice(prefix.length), "table"]));
    } else if (/OPTIONS\s*\([^()]*$/i.test(lead)) {
        known = names.options.map((name) => [name, "option"]);
    } else if (/\bMODEL\s+$/i.test(lead) || /\b(predict|evaluate|confusion_matrix|roc_curve|pr_curve|calibration_curve|training_info|embed|generate|predict_value|recommend)\(\s*$/i.test(lead)) {
        known = names.models.map((name) => [name, "model"]);
    } else if (/\b(FROM|JOIN|INTO|UPDATE|TABLE|SUMMARIZE|DESCRIBE)\s+$/i.test(lead)) {
        known = Object.keys(names.tables).map((name) => [name, "table"]).concat(names.relations.map((name) => [name + "(", "function"]));
    } else {
        if (!typed) return { typed, found: [] };
        const used = Object.keys(names.tables).filter((name) => new RegExp("\\b" + name.replace(/[^\w]/g, "\\$&") + "\\b", "i").test(whole));
        used.forEach((table) => known.push(...names.tables[table].map((name) => [name, "column"])));
        const isLower = typed === lower;
        known.push(...KEYWORDS.map((name) => [isLower ? name.toLowerCase() : name, "keyword"]));
        known.push(...names.functions.map((name) => [name + "(", "function"]));
        known.push(...Object.keys(names.tables).map((name) => [name, "table"]), ...names.models.map((name) => [name, "model"]));
    }
    const seen = new Set();
    const found = known.filter(([name]) => {
        const fits = name.toLowerCase().startsWith(lower) && name.toLowerCase() !== lower && !seen.has(name);
        seen.add(name);
        return fits;
    });
    return { typed, found: found.slice(0, 40) };
}

// The place of the cursor in a textarea, by a copy of its text.
function cursorPlace(area) {
    const style = getComputedStyle(area);
    const copy = make("div");
    for (const name of ["font", "padding", "border", "lineHeight", "tabSize", "letterSpacing"]) copy.style[name] = style[name];
    Object.assign(copy.style, { position: "absolute", visibility: "hidden", whiteSpace: "pre-wrap", overflowWrap: "break-word", width: area.clientWidth + "px", top: "0", left: "0" });
    copy.textContent = area.value.slice(0, area.selectionStart);
    const mark = make("span", {}, "​");
    copy.append(mark);
    area.parentNode.append(copy);
    const place = { left: mark.offsetLeft, top: mark.offsetTop + mark.offsetHeight - area.scrollTop };
    copy.remove();
    return place;
}

function completeIn(area) {
    const list = make("ul", { class: "hints", role: "listbox", id: "hints", hidden: "" });
    area.parentNode.append(list);
    area.setAttribute("aria-controls", "hints");
    let names = null, chosen = 0, moved = false, now = { typed: "", found: [] };
    fetch("/names", { credentials: "same-origin" }).then((answer) => answer.json()).then((all) => { names = all; }, () => {});
    const close = () => { list.hidden = true; now = { typed: "", found: [] }; };
    const mark = () => [...list.children].forEach((item, index) => {
        item.setAttribute("aria-selected", index === chosen);
        if (index === chosen) item.scrollIntoView({ block: "nearest" });
    });
    const take = (index) => {
        const [name] = now.found[index];
        const end = area.selectionStart;
        area.setRangeText(name, end - now.typed.length, end, "end");
        close();
        area.focus();
    };
    const open = (asked) => {
        if (!names || area.selectionStart !== area.selectionEnd) return close();
        now = candidates(names, area.value.slice(0, area.selectionStart), area.value);
        if (!now.found.length || (!asked && now.typed.length < 2)) return close();
        chosen = 0;
        moved = false;
        list.replaceChildren(...now.found.map(([name, kind], index) => {
            const item = make("li", { role: "option" });
            item.append(make("span", {}, name), make("small", {}, kind));
            item.addEventListener("pointerdown", (event) => { event.preventDefault(); take(index); });
            return item;
        }));
        const place = cursorPlace(area);
        list.style.left = Math.min(place.left, Math.max(0, area.clientWidth - 220)) + "px";
        list.style.top = place.top + 4 + "px";
        list.hidden = false;
        mark();
    };
    area.addEventListener("input", () => open(false));
    area.addEventListener("blur", close);
    area.addEventListener("keydown", (event) => {
        if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
            event.preventDefault();
            close();
            area.form.requestSubmit();
        } else if (event.ctrlKey && event.key === " ") {
            event.preventDefault();
            open(true);
        } else if (!list.hidden) {
            const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
            if (step) {
                chosen = (chosen + step + now.found.length) % now.found.length;
                moved = true;
                mark();
            } else if (event.key === "Tab" || (event.key === "Enter" && moved)) {
                take(chosen);
            } else if (event.key === "Escape") {
                close();
            } else return;
            event.preventDefault();
        }
    });
}

function prepare(part) {
    part.querySelectorAll("svg.chart").forEach(watchChart);
    part.querySelectorAll("form[data-into]").forEach(answerInPlace);
    part.querySelectorAll("input[data-filters]").forEach(filterRows);
    part.querySelectorAll("time").forEach(localTime);
    part.querySelectorAll("[data-plots]").forEach(plotResult);
    part.querySelectorAll("textarea[data-completes]").forEach(completeIn);
    // A choice in a bar of filters takes effect at once.
    part.querySelectorAll("form[data-instant] select").forEach((select) => select.addEventListener("change", () => select.form.requestSubmit()));
}

// The next try begins after the answer, so that a slow server is not asked more and more.
const refreshLater = () => setTimeout(() => refresh().finally(refreshLater), 2000);

prepare(document);
refreshLater();
