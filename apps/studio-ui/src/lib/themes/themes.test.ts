import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { themes, type Theme } from "./themes";

const file = (theme: Theme) => readFileSync(new URL(`../../../../../themes/${theme}.css`, import.meta.url), "utf8");

function variables(theme: Theme): Map<string, string> {
  return new Map([...file(theme).matchAll(/^\s*(--cds-[a-z0-9-]+):\s*([^;]+);/gm)].map((match) => [match[1] ?? "", (match[2] ?? "").trim()]));
}

/** Relative luminance of WCAG 2.2. */
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

const surfaces = ["--cds-bg", "--cds-panel", "--cds-raised"];
const texts = ["--cds-text", "--cds-muted", "--cds-accent", "--cds-accent-2", "--cds-ok", "--cds-warn", "--cds-danger"];
const syntax = ["comment", "keyword", "string", "number", "type", "function", "operator"].map((word) => `--cds-syn-${word}`);

describe("the theme files", () => {
  it("give values to the same list of variables", () => {
    const [first, ...others] = themes.map((theme) => [...variables(theme).keys()].sort());
    expect(first?.length).toBeGreaterThan(30);
    for (const other of others) expect(other).toEqual(first);
  });

  it.each(themes)("hold nothing but variables in %s", (theme) => {
    const body = file(theme).replace(/\/\*.*?\*\//gs, "");
    expect(body.match(/\{/g)).toHaveLength(1);
    expect(body).toMatch(new RegExp(`:root\\[data-theme="${theme}"\\]`));
    expect(body).not.toMatch(/url\(|@import/);
  });

  describe.each(themes)("%s", (theme) => {
    const of = (name: string): string => {
      const value = variables(theme).get(name);
      if (!value || !/^#[0-9a-f]{6}$/.test(value)) throw new Error(`${theme}: ${name} is no colour of six digits`);
      return value;
    };

    it.each(texts.flatMap((text) => surfaces.map((surface) => [text, surface] as const)))("has 4.5:1 for %s on %s", (text, surface) => {
      expect(contrast(of(text), of(surface))).toBeGreaterThanOrEqual(4.5);
    });

    it.each(syntax)("has 4.5:1 for %s in the editor", (word) => {
      expect(contrast(of(word), of("--cds-panel"))).toBeGreaterThanOrEqual(4.5);
    });

    it.each(surfaces)("has 3:1 for borders of controls and the focus ring on %s", (surface) => {
      expect(contrast(of("--cds-border"), of(surface))).toBeGreaterThanOrEqual(3);
      expect(contrast(of("--cds-focus"), of(surface))).toBeGreaterThanOrEqual(3);
    });

    it("has 4.5:1 on buttons", () => {
      expect(contrast(of("--cds-on-button"), of("--cds-button"))).toBeGreaterThanOrEqual(4.5);
    });
  });
});
