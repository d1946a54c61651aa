export type Stream = "stdout" | "stderr";

/** Text of one stream without a break; a list of these is what a run wrote, in order. */
export interface Segment {
  /** Grows along the list and stays with the segment, so that only the last one is painted again. */
  key: number;
  stream: Stream;
  text: string;
}

export interface OutputView {
  segments: readonly Segment[];
  /** Characters that came and are no longer held. */
  cutChars: number;
}

const segmentChars = 8 * 1024;

/** What a run wrote, up to a ceiling: the newest text is kept, older text is counted and dropped. */
export class OutputBuffer {
  private segments: Segment[] = [];
  private heldChars = 0;
  private cutChars = 0;
  private nextKey = 0;
  private nextSeq = 0;
  private readonly decoders: Partial<Record<Stream, TextDecoder>> = {};
  private readonly maxChars: number;

  constructor(maxChars = 512 * 1024) {
    this.maxChars = maxChars;
  }

  /** One run.output notification. A number that was seen before is ignored, so that nothing is shown twice. */
  add(note: { seq: number; stream: Stream; data: string; encoding?: "base64" }): void {
    if (note.seq < this.nextSeq) return;
    this.nextSeq = note.seq + 1;
    this.append(note.stream, note.encoding === "base64" ? this.decode(note.stream, note.data) : note.data);
  }

  view(): OutputView {
    return { segments: [...this.segments], cutChars: this.cutChars };
  }

  text(): string {
    return this.segments.map((segment) => segment.text).join("");
  }

  /** Bytes that are not UTF-8 become replacement characters; a character cut between two notes is put together. */
  private decode(stream: Stream, data: string): string {
    const decoder = (this.decoders[stream] ??= new TextDecoder());
    return decoder.decode(
      Uint8Array.from(atob(data), (char) => char.charCodeAt(0)),
      { stream: true },
    );
  }

  private append(stream: Stream, text: string): void {
    let rest = text;
    while (rest) {
      const last = this.segments[this.segments.length - 1];
      if (last && last.stream === stream && last.text.length < segmentChars) {
        const taken = rest.slice(0, segmentChars - last.text.length);
        this.segments[this.segments.length - 1] = { ...last, text: last.text + taken };
        rest = rest.slice(taken.length);
      } else {
        this.segments.push({ key: this.nextKey++, stream, text: rest.slice(0, segmentChars) });
        rest = rest.slice(segmentChars);
      }
    }
    this.heldChars += text.length;
    this.cut();
  }

  private cut(): void {
    let drop = 0;
    while (this.heldChars > this.maxChars && drop < this.segments.length - 1) {
      const length = this.segments[drop]?.text.length ?? 0;
      this.heldChars -= length;
      this.cutChars += length;
      drop++;
    }
    if (drop) this.segments = this.segments.slice(drop);
  }
}
