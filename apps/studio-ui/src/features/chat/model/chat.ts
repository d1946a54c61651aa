import { toFailure } from "@/lib/failure";
import type { CallOptions } from "@/lib/rpc/client";
import type { LlmChatParams, LlmChatResult } from "@/lib/rpc/methods.gen";
import { createStore, type Store } from "@/lib/store";
import { isOpen, messagesFor, reduce, type Answer, type Thread, type ThreadEvent } from "./thread";

export type Ask = (params: LlmChatParams, options: CallOptions<"llm.chat">) => Promise<LlmChatResult>;

export interface AskOptions {
  /** null: whichever is loaded. */
  model: string | null;
  maxTokens: number;
}

export interface ChatHooks {
  frame?: (paint: () => void) => void;
  /** After each answer, for the numbers in the status bar. */
  onSettled?: () => void;
}

/** One conversation. One question at a time; pieces are painted once per frame, however fast they come. */
export class Chat {
  readonly thread: Store<Thread> = createStore<Thread>([]);
  private readonly ask: Ask;
  private readonly hooks: ChatHooks;
  private stopper: AbortController | null = null;
  private lastId = 0;

  constructor(ask: Ask, hooks: ChatHooks = {}) {
    this.ask = ask;
    this.hooks = hooks;
  }

  open(): Answer | undefined {
    return this.thread.get().find((message): message is Answer => message.role === "assistant" && isOpen(message));
  }

  async send(text: string, options: AskOptions): Promise<void> {
    if (this.open() || text.trim() === "") return;
    const id = ++this.lastId;
    const before = this.thread.get();
    this.apply({ type: "ask", id, text, model: options.model });
    const stopper = (this.stopper = new AbortController());
    let pieces: { seq: number; content: string }[] = [];
    const paint = () => {
      const due = pieces;
      pieces = [];
      this.apply({ type: "pieces", id, pieces: due });
    };
    const frame = this.hooks.frame ?? ((callback) => void requestAnimationFrame(callback));
    try {
      const params: LlmChatParams = { messages: messagesFor(before, text), max_tokens: options.maxTokens, ...(options.model !== null && { model: options.model }) };
      const result = await this.ask(params, {
        signal: stopper.signal,
        onNotification: (_method, note) => {
          pieces.push(note);
          if (pieces.length === 1) frame(paint);
        },
      });
      this.apply({ type: "answered", id, result });
    } catch (error) {
      paint();
      this.apply({ type: "failed", id, failure: toFailure(error) });
    }
    this.hooks.onSettled?.();
  }

  /** Takes back a question whose answer failed, and asks it again. */
  again(id: number, options: AskOptions): void {
    const question = this.thread.get().find((message) => message.role === "user" && message.id === id);
    if (!question || this.open()) return;
    this.apply({ type: "withdraw", id });
    void this.send(question.content, options);
  }

  stop(): void {
    const answer = this.open();
    if (!answer || answer.state === "stopping") return;
    this.apply({ type: "stopping", id: answer.id });
    this.stopper?.abort();
  }

  clear(): void {
    this.stopper?.abort();
    this.thread.set([]);
  }

  private apply(event: ThreadEvent): void {
    this.thread.set((now) => reduce(now, event));
  }
}
