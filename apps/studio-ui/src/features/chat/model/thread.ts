import { Failure } from "@/lib/failure";
import type { LlmChatParams, LlmChatResult } from "@/lib/rpc/methods.gen";

export type AnswerState = "waiting" | "streaming" | "stopping" | "done" | "stopped" | "failed";

export interface Question {
  role: "user";
  id: number;
  content: string;
}

export interface Answer {
  role: "assistant";
  id: number;
  content: string;
  state: AnswerState;
  /** Number of the next piece; earlier ones were seen. */
  nextSeq: number;
  model: string | null;
  result: LlmChatResult | null;
  failure: Failure | null;
}

export type Message = Question | Answer;
export type Thread = readonly Message[];

export type ThreadEvent =
  | { type: "ask"; id: number; text: string; model: string | null }
  | { type: "pieces"; id: number; pieces: readonly { seq: number; content: string }[] }
  | { type: "stopping"; id: number }
  | { type: "answered"; id: number; result: LlmChatResult }
  | { type: "failed"; id: number; failure: Failure }
  | { type: "withdraw"; id: number };

/** The conversation after one event. A question has the id n, its answer the same. */
export function reduce(thread: Thread, event: ThreadEvent): Thread {
  switch (event.type) {
    case "ask":
      return [
        ...thread,
        { role: "user", id: event.id, content: event.text },
        { role: "assistant", id: event.id, content: "", state: "waiting", nextSeq: 0, model: event.model, result: null, failure: null },
      ];
    case "withdraw":
      return thread.filter((message) => message.id !== event.id);
    default:
      return thread.map((message) => (message.role === "assistant" && message.id === event.id ? answerAfter(message, event) : message));
  }
}

function answerAfter(answer: Answer, event: Exclude<ThreadEvent, { type: "ask" | "withdraw" }>): Answer {
  switch (event.type) {
    case "pieces":
      return withPieces(answer, event.pieces);
    case "stopping":
      return isOpen(answer) ? { ...answer, state: "stopping" } : answer;
    case "answered":
      // The result holds the whole text: it wins over the pieces.
      return { ...answer, state: answer.state === "stopping" ? "stopped" : "done", content: event.result.content, model: event.result.model, result: event.result };
    case "failed":
      return event.failure.name === "CANCELLED" && answer.state === "stopping" ? { ...answer, state: "stopped" } : { ...answer, state: "failed", failure: event.failure };
  }
}

function withPieces(answer: Answer, pieces: readonly { seq: number; content: string }[]): Answer {
  if (!isOpen(answer)) return answer;
  const fresh = pieces.filter((piece) => piece.seq >= answer.nextSeq);
  const last = fresh[fresh.length - 1];
  if (!last) return answer;
  return {
    ...answer,
    state: answer.state === "waiting" ? "streaming" : answer.state,
    content: answer.content + fresh.map((piece) => piece.content).join(""),
    nextSeq: last.seq + 1,
  };
}

export const isOpen = (answer: Answer): boolean => answer.state === "waiting" || answer.state === "streaming" || answer.state === "stopping";

/** Of schemas/rpc/llm.chat.json. */
const messagesMax = 256;

/** What the model is sent: every question that has an answer, and the new one. Nothing is dropped silently: too much is a Failure. */
export function messagesFor(thread: Thread, text: string): LlmChatParams["messages"] {
  const answered = new Set(thread.filter((message) => message.role === "assistant" && message.content !== "").map((message) => message.id));
  const messages: LlmChatParams["messages"] = thread.filter((message) => answered.has(message.id)).map(({ role, content }) => ({ role, content }));
  messages.push({ role: "user", content: text });
  if (messages.length > messagesMax)
    throw new Failure("CONTEXT_LENGTH", { detail: `This conversation has ${messages.length} messages; at most ${messagesMax} can be sent.` });
  return messages;
}
