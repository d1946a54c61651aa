import type { CallOptions } from "@/lib/rpc/client";
import type { TermAttachParams, TermAttachResult, TermListResult, TermOpenParams, TermOpenResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";

export type TerminalInfo = TermListResult["terminals"][number];
export type Program = TermOpenResult["program"];
/** The JSON-RPC id of a call, as its notifications carry it. */
export type CallId = string | number;

/** The calls a terminal needs, so that tests can script them. */
export interface TerminalApi {
  open(params: TermOpenParams): Promise<TermOpenResult>;
  attach(params: TermAttachParams, options: CallOptions<"term.attach">): Promise<TermAttachResult>;
  ack(id: CallId, seq: number): Promise<unknown>;
  input(project: string, term_id: string, data: string): Promise<unknown>;
  resize(project: string, term_id: string, rows: number, cols: number): Promise<unknown>;
  list(project: string): Promise<TerminalInfo[]>;
  kill(project: string, term_id: string): Promise<unknown>;
}

export const terminalApi: TerminalApi = {
  open: (params) => rpc.call("term.open", params),
  attach: (params, options) => rpc.call("term.attach", params, options),
  ack: (id, seq) => rpc.call("term.ack", { id, seq }),
  input: (project, term_id, data) => rpc.call("term.input", { project, term_id, data }),
  resize: (project, term_id, rows, cols) => rpc.call("term.resize", { project, term_id, rows, cols }),
  list: async (project) => (await rpc.call("term.list", { project })).terminals,
  kill: (project, term_id) => rpc.call("term.kill", { project, term_id }),
};
