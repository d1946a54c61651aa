import { useRef, useState, type KeyboardEvent, type PointerEvent } from "react";
import { readChoice, writeChoice } from "@/lib/storage";

interface Size {
  px: number;
  set(px: number): void;
}

/** A pane size that is kept for the next visit. */
export function usePaneSize(name: string, first: number, least: number, most: number): Size {
  const [px, setPx] = useState(() => {
    const stored = Number(readChoice(`pane.${name}`));
    return stored >= least && stored <= most ? stored : first;
  });
  return {
    px,
    set(next) {
      const kept = Math.round(Math.min(most, Math.max(least, next)));
      setPx(kept);
      writeChoice(`pane.${name}`, String(kept));
    },
  };
}

/** A line between two panes: drag it, or focus it and use the arrow keys. before: the sized pane comes first. */
export function Splitter({ name, size, axis, before = true }: { name: string; size: Size; axis: "x" | "y"; before?: boolean }) {
  const start = useRef<{ at: number; px: number } | null>(null);
  const at = (event: PointerEvent) => (axis === "x" ? event.clientX : event.clientY);
  const direction = before ? 1 : -1;
  const onKeyDown = (event: KeyboardEvent) => {
    const [less, more] = axis === "x" ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
    if (event.key !== less && event.key !== more) return;
    event.preventDefault();
    size.set(size.px + (event.key === more ? 1 : -1) * direction * (event.shiftKey ? 64 : 16));
  };
  return (
    <div
      role="separator"
      tabIndex={0}
      aria-label={name}
      aria-orientation={axis === "x" ? "vertical" : "horizontal"}
      aria-valuenow={size.px}
      onKeyDown={onKeyDown}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        start.current = { at: at(event), px: size.px };
      }}
      onPointerMove={(event) => start.current && size.set(start.current.px + (at(event) - start.current.at) * direction)}
      onPointerUp={() => (start.current = null)}
      onPointerCancel={() => (start.current = null)}
      className={`relative z-10 shrink-0 touch-none bg-line transition-colors hover:bg-accent ${axis === "x" ? "w-px cursor-col-resize before:absolute before:inset-y-0 before:-left-1 before:w-2.5" : "h-px cursor-row-resize before:absolute before:inset-x-0 before:-top-1 before:h-2.5"}`}
    />
  );
}
