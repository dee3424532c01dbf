// The page explorer.md: what the controls say is drawn, and kept in the link.
"use strict";

(() => {
  const root = document.getElementById("window-explorer");
  if (!root) return;
  const find = (name) => root.querySelector(`[data-name="${name}"]`);

  const PAIRS = ["size", "kernel", "stride", "padding", "dilation", "extra"];
  const LIMITS = {
    size: [1, 16, 6],
    kernel: [1, 7, 3],
    stride: [1, 6, 1],
    padding: [0, 6, 0],
    dilation: [1, 4, 1],
    extra: [0, 5, 0],
  };
  const SWITCHES = ["ceil", "transposed"];
  const start = {
    ...Object.fromEntries(PAIRS.map((name) => [name, [LIMITS[name][2], LIMITS[name][2]]])),
    ceil: false,
    transposed: false,
    position: 0,
  };
  let state = structuredClone(start);
  let timer = null;

  const clamp = (value, [low, high, usual]) =>
    Number.isInteger(value) ? Math.min(high, Math.max(low, value)) : usual;

  function readLink() {
    const found = structuredClone(start);
    for (const part of location.hash.slice(1).split("&")) {
      const [name, value = ""] = part.split("=");
      if (PAIRS.includes(name)) {
        const [down, right = down] = value.split("x");
        found[name] = [down, right].map((each) => clamp(parseInt(each, 10), LIMITS[name]));
      } else if (SWITCHES.includes(name)) {
        found[name] = value === "1";
      } else if (name === "position") {
        found.position = clamp(parseInt(value, 10), [0, 255, 0]);
      }
    }
    return found;
  }

  function writeLink() {
    const parts = PAIRS.filter((name) => name !== "extra" || state.transposed).map(
      (name) => `${name}=${state[name].join("x")}`
    );
    for (const name of SWITCHES) if (state[name]) parts.push(`${name}=1`);
    if (state.position) parts.push(`position=${state.position}`);
    history.replaceState(null, "", `#${parts.join("&")}`);
  }

  function axisOf(dim) {
    const numbers = {
      size: state.size[dim],
      kernel: state.kernel[dim],
      stride: state.stride[dim],
      dilation: state.dilation[dim],
      before: state.padding[dim],
      after: state.padding[dim],
    };
    return state.transposed
      ? Geometry.transposedAxis({ ...numbers, outputPadding: state.extra[dim] })
      : Geometry.slidingAxis({ ...numbers, ceil: state.ceil });
  }

  // --- drawing ----------------------------------------------------------------------------------

  const hue = (index, count) => `hsl(${Math.round((290 * index) / Math.max(1, count - 1))} 75% 72%)`;

  /** Draw a grid: `paint(row, column)` gives a cell's colour (null: none), frame and opacity. */
  function grid(canvas, rows, across, side, paint) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round((across * side + 2) * scale);
    canvas.height = Math.round((rows * side + 2) * scale);
    canvas.style.width = `${across * side + 2}px`;
    canvas.dataset.cells = `${rows}x${across}`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.translate(1, 1);
    const ink = getComputedStyle(root).color;
    const frames = [];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < across; column++) {
        const { colour, pale, frame } = paint(row, column);
        pen.globalAlpha = pale ? 0.3 : 1;
        if (colour) {
          pen.fillStyle = colour;
          pen.fillRect(column * side, row * side, side, side);
        }
        pen.globalAlpha = side > 5 ? 0.35 : 0.12;
        pen.strokeStyle = ink;
        pen.lineWidth = 0.5;
        pen.strokeRect(column * side, row * side, side, side);
        if (frame) frames.push([row, column]);
      }
    }
    pen.globalAlpha = 1;
    pen.lineWidth = Math.min(2.5, side / 4);
    for (const [row, column] of frames) {
      pen.strokeRect(column * side + 0.5, row * side + 0.5, side - 1, side - 1);
    }
  }

  function draw(rows, across) {
    const matrix = Geometry.columns(rows, across);
    const cells = rows.size * across.size;
    const positions = rows.out * across.out;
    state.position = Math.min(state.position, positions - 1);
    const at = [Math.floor(state.position / across.out), state.position % across.out];

    const high = rows.before + rows.size + Geometry.shownAfter(rows);
    const wide = across.before + across.size + Geometry.shownAfter(across);
    const room = Math.min(380, root.clientWidth - 8);
    const side = Math.max(6, Math.min(30, Math.floor(room / Math.max(high, wide))));
    const seen = new Set();
    for (let i = 0; i < rows.kernel; i++) {
      for (let j = 0; j < across.kernel; j++) {
        seen.add(
          `${at[0] * rows.stride + i * rows.dilation},${at[1] * across.stride + j * across.dilation}`
        );
      }
    }
    grid(find("input"), high, wide, side, (row, column) => {
      const down = row - rows.before;
      const right = column - across.before;
      const inside = down >= 0 && down < rows.size && right >= 0 && right < across.size;
      const frame = seen.has(`${row},${column}`);
      const colour = inside ? hue(down * across.size + right, cells) : "hsl(0 0% 55% / 0.25)";
      return { colour, pale: inside && !frame, frame };
    });
    grid(find("output"), rows.out, across.out, side, (row, column) => {
      const here = row * across.out + column;
      const colour = here <= state.position ? "hsl(36 95% 55%)" : null;
      return { colour, pale: here < state.position, frame: here === state.position };
    });
    const narrow = Math.max(2, Math.min(18, Math.floor((root.clientWidth - 8) / positions)));
    grid(find("columns"), matrix.length, positions, narrow, (row, column) => {
      if (column > state.position) return { colour: null };
      const source = matrix[row][column];
      const colour = source < 0 ? "hsl(0 0% 55% / 0.25)" : hue(source, cells);
      return { colour, frame: column === state.position && narrow > 5 };
    });
    find("columns").dataset.sources = matrix.map((row) => row[state.position]).join(" ");

    const [whole, part] = state.transposed ? ["output", "input"] : ["input", "output"];
    const padded = state.padding.some(Boolean) ? (state.transposed ? ", cropped" : ", padded") : "";
    find("input-title").textContent = `${whole} ${rows.size} × ${across.size}${padded}`;
    find("output-title").textContent = `${part} ${rows.out} × ${across.out}`;
    find("columns-title").textContent =
      `im2col matrix ${matrix.length} × ${positions}: column ${state.position + 1}` +
      (state.transposed ? ", which is added into the output (fold)" : "");
    find("slider").max = positions - 1;
    find("slider").value = state.position;
  }

  const pair = ([down, right]) => (down === right ? `${down}` : `(${down}, ${right})`);

  function call(rows, across) {
    const words = [`(${state.size.join(", ")})`, pair(state.kernel)];
    for (const [name, usual] of [["stride", 1], ["padding", 0], ["dilation", 1]]) {
      if (state[name].some((each) => each !== usual)) words.push(`${name}=${pair(state[name])}`);
    }
    if (state.transposed) {
      if (state.extra.some(Boolean)) words.push(`output_padding=${pair(state.extra)}`);
      return `ac.transposed_output_size(${words.join(", ")})  # (${rows.size}, ${across.size})`;
    }
    if (state.ceil) words.push("ceil_mode=True");
    return `ac.output_size(${words.join(", ")})  # (${rows.out}, ${across.out})`;
  }

  /** Say what is wrong with a field: its number stays as typed, and the nearest allowed one is used. */
  function hint() {
    const wrong = [...root.querySelectorAll('input[type="number"]')].find(
      (field) => !field.closest("[hidden]") && !field.validity.valid
    );
    const text = wrong
      ? `${wrong.getAttribute("aria-label")}: a whole number from ${wrong.min} to ${wrong.max}; ` +
        `${state[wrong.name.slice(0, -2)][Number(wrong.name.slice(-1))]} is used`
      : "";
    find("hint").textContent = text;
    find("hint").hidden = !text;
  }

  function update() {
    for (const name of PAIRS) {
      state[name].forEach((value, dim) => {
        const field = root.querySelector(`input[name="${name}-${dim}"]`);
        if (document.activeElement !== field) field.value = value;
      });
    }
    for (const name of SWITCHES) root.querySelector(`input[name="${name}"]`).checked = state[name];
    hint();
    find("extra-row").hidden = !state.transposed;
    find("ceil-label").hidden = state.transposed;
    const shown = find("shown");
    try {
      const [rows, across] = [axisOf(0), axisOf(1)];
      const way = {
        transposed: state.transposed,
        ceil: state.ceil,
      };
      const words = (axis, dim) =>
        Geometry.formula(axis, { ...way, outputPadding: state.extra[dim] });
      find("result").textContent = state.transposed
        ? `${rows.size} × ${across.size}`
        : `${rows.out} × ${across.out}`;
      find("formula").textContent = `rows: ${words(rows, 0)}\ncolumns: ${words(across, 1)}`;
      find("call").textContent = call(rows, across);
      shown.hidden = false;
      draw(rows, across);
    } catch (error) {
      find("result").textContent = "none";
      find("formula").textContent = error.message;
      find("call").textContent = "";
      shown.hidden = true;
      stop();
    }
    writeLink();
  }

  // --- what the reader does ---------------------------------------------------------------------

  function stop() {
    clearInterval(timer);
    timer = null;
    find("play").textContent = "Play";
  }

  function play() {
    if (timer !== null) return stop();
    find("play").textContent = "Pause";
    timer = setInterval(() => {
      const last = Number(find("slider").max);
      state.position = state.position >= last ? 0 : state.position + 1;
      update();
    }, 350);
  }

  for (const name of PAIRS) {
    for (const dim of [0, 1]) {
      const field = root.querySelector(`input[name="${name}-${dim}"]`);
      [field.min, field.max] = LIMITS[name];
      field.required = true;
      field.addEventListener("input", () => {
        const value = clamp(parseInt(field.value, 10), LIMITS[name]);
        // Rows and columns go together until the reader sets them apart.
        const together = dim === 0 && state[name][0] === state[name][1];
        state[name] = together ? [value, value] : state[name].map((v, d) => (d === dim ? value : v));
        update();
      });
      // Left, a field shows the number that is used.
      field.addEventListener("change", () => {
        field.value = state[name][dim];
        update();
      });
    }
  }
  for (const name of SWITCHES) {
    root.querySelector(`input[name="${name}"]`).addEventListener("change", (event) => {
      state[name] = event.target.checked;
      update();
    });
  }
  find("slider").addEventListener("input", (event) => {
    state.position = Number(event.target.value);
    update();
  });
  find("play").addEventListener("click", play);
  find("reset").addEventListener("click", () => {
    stop();
    state = structuredClone(start);
    update();
  });
  find("output").addEventListener("click", (event) => {
    const [rows, across] = event.target.dataset.cells.split("x").map(Number);
    const box = event.target.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * across);
    state.position = Math.min(rows - 1, row) * across + Math.min(across - 1, column);
    update();
  });
  const follow = () => {
    // A link to a heading of this page says nothing of a state.
    if (location.hash && !location.hash.includes("=")) return;
    state = readLink();
    update();
  };
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", update);
  new MutationObserver(update).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  state = readLink();
  update();
})();
