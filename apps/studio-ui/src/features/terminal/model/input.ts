import type { Failure } from "@/lib/failure";
import { toFailure } from "@/lib/failure";

/** One call types at most 64 KiB, and a character may be four bytes. */
const pieceChars = 16_384;
const queueChars = 1_000_000;
const busyMs = 100;

/**
 * What is typed, in order: one call at a time, and what comes meanwhile goes along with the next. A terminal that does not read (BUSY) took
 * nothing, so the same is sent again; after any other failure it is not known what was taken, so the rest is dropped.
 */
export class InputQueue {
  private waiting = "";
  private sending = false;
  private stopped = false;

  constructor(
    private readonly send: (data: string) => Promise<unknown>,
    private readonly onFailure: (failure: Failure) => void,
    private readonly later: (work: () => void, ms: number) => void = (work, ms) => void setTimeout(work, ms),
  ) {}

  /** False: so much waits already that this was not taken. */
  type(data: string): boolean {
    if (this.stopped || this.waiting.length + data.length > queueChars) return false;
    this.waiting += data;
    void this.flush();
    return true;
  }

  stop(): void {
    this.stopped = true;
    this.waiting = "";
  }

  private async flush(): Promise<void> {
    if (this.sending || !this.waiting) return;
    this.sending = true;
    const piece = firstPiece(this.waiting);
    try {
      await this.send(piece);
      this.waiting = this.waiting.slice(piece.length);
    } catch (error) {
      const failure = toFailure(error);
      if (failure.name === "BUSY" && !this.stopped) {
        this.later(() => {
          this.sending = false;
          void this.flush();
        }, failure.facts.retryAfterMs ?? busyMs);
        return;
      }
      this.waiting = "";
      if (!this.stopped) this.onFailure(failure);
    }
    this.sending = false;
    void this.flush();
  }
}

/** Never half of a surrogate pair: that would be no text. */
function firstPiece(text: string): string {
  if (text.length <= pieceChars) return text;
  const last = text.charCodeAt(pieceChars - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? pieceChars - 1 : pieceChars);
}
