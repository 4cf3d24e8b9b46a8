// Every text and every mark that is to be seen, with the contrast between it and what is behind it (WCAG 2.2, 1.4.3 and
// 1.4.11). Runs in the page; returns what falls short and how much was looked at.
() => {
  const parse = (text) => {
    const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    const scale = text.startsWith("color(srgb") ? 255 : 1;
    return { rgb: numbers.slice(0, 3).map((part) => part * scale), alpha: numbers[3] ?? 1 };
  };
  const over = (top, alpha, under) => top.map((part, at) => part * alpha + under[at] * (1 - alpha));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const chain = (element) => {
    const found = [];
    for (let at = element; at; at = at.parentElement) found.unshift(at);
    return found;
  };
  /** What `element` paints `colour` on, and the colour as it arrives: opacity of a group mixes both with what is behind. */
  const painted = (element, colour, withOwnGround) => {
    let behind = [255, 255, 255], ground = behind, opacity = 1;
    for (const at of chain(element)) {
      const style = getComputedStyle(at);
      opacity *= Number(style.opacity);
      if (at === element && !withOwnGround) break;
      const fill = parse(style.backgroundColor);
      ground = behind = over(fill.rgb, fill.alpha * opacity, behind);
    }
    const top = parse(colour);
    return [over(top.rgb, top.alpha * opacity, ground), ground];
  };
  const shown = (element) => {
    if (!element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true })) return false;
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && box.right > 0 && box.bottom > 0;
  };
  const short = [];
  let texts = 0, marks = 0;
  const judge = (element, what, colours, least) => {
    const found = ratio(...colours);
    if (found < least) short.push(`${what}: ${found.toFixed(2)} of ${least} (${colours.map((c) => `rgb(${c.map(Math.round)})`).join(" on ")})`);
  };
  const text = (element, words, colour) => {
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    texts += 1;
    judge(element, `${element.tagName.toLowerCase()}.${element.className} "${words}"`, painted(element, colour, true), size >= 24 || (bold && size >= 18.66) ? 3 : 4.5);
  };
  // Where a modal dialog is open, nothing else can be used.
  const top = document.querySelector("dialog[open]") ?? document.body;
  for (const element of top.querySelectorAll("*")) {
    if (!shown(element) || element.closest(":disabled, svg")) continue; // what cannot be used is exempt
    const own = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join(" ").trim();
    const style = getComputedStyle(element);
    if (own && !["VIDEO", "TEXTAREA"].includes(element.tagName)) text(element, own, style.color);
    if (["INPUT", "TEXTAREA"].includes(element.tagName)) {
      if (element.value) text(element, element.value, style.color);
      else if (element.placeholder) text(element, element.placeholder, getComputedStyle(element, "::placeholder").color);
      marks += 1; // its border is all that shows where to write
      judge(element, `border of #${element.id}`, painted(element, style.borderTopColor, false), 3);
    }
    const before = getComputedStyle(element, "::before");
    if (before.content === '""' && parse(before.backgroundColor).alpha) {
      marks += 1;
      judge(element, `the legend's "${own}"`, painted(element, before.backgroundColor, true), 3);
    }
  }
  for (const rect of top.querySelectorAll(".timeline rect")) {
    const style = getComputedStyle(rect);
    if (!shown(rect) || rect.classList.contains("cursor") || rect.classList.contains("outside")) continue;
    marks += 1;
    judge(rect, `timeline ${rect.getAttribute("class")}`, painted(rect, style.fill, false), 3);
  }
  // Which control has the focus.
  const active = document.activeElement;
  if (active && active.matches(":focus-visible")) {
    marks += 1;
    judge(active, "the mark of the focus", painted(active.parentElement, getComputedStyle(active).outlineColor, true), 3);
  }
  return { short: [...new Set(short)], texts, marks };
}
