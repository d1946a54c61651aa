import { useCallback, useEffect, useRef, useState, type RefObject } from "react";

interface StuckToEnd {
  ref: RefObject<HTMLDivElement | null>;
  /** Whether the end is in view, so that new content scrolls by itself. */
  stuck: boolean;
  jump(): void;
}

/** Follows growing content, but lets go as soon as the reader scrolls up. */
export function useStuckToEnd(content: unknown): StuckToEnd {
  const ref = useRef<HTMLDivElement>(null);
  const [stuck, setStuck] = useState(true);
  useEffect(() => {
    const box = ref.current;
    if (!box) return;
    const onScroll = () => setStuck(box.scrollHeight - box.scrollTop - box.clientHeight < 48);
    box.addEventListener("scroll", onScroll, { passive: true });
    return () => box.removeEventListener("scroll", onScroll);
  }, []);
  useEffect(() => {
    const box = ref.current;
    if (box && stuck) box.scrollTop = box.scrollHeight;
  }, [content, stuck]);
  const jump = useCallback(() => {
    const box = ref.current;
    if (box) box.scrollTop = box.scrollHeight;
    setStuck(true);
  }, []);
  return { ref, stuck, jump };
}
