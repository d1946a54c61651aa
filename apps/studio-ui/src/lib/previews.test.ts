import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Failure } from "@/lib/failure";
import { keepEveryMs, portsEveryMs, Previews, type OpenPreview, type PreviewApi } from "./previews";

const target = { project: "p", term_id: "t" };
const one: OpenPreview = { preview_id: "l", project: "p", term_id: "t", url: "http://l.localhost:1", port: 8000, age_ms: 1, idle_ms: 1 };
const settle = () => vi.advanceTimersByTimeAsync(0);

describe("previews of one program", () => {
  let api: { [K in keyof PreviewApi]: ReturnType<typeof vi.fn<PreviewApi[K]>> };
  let hidden: boolean;
  const entered = vi.fn();
  const make = () => new Previews(api, target, entered, () => hidden);
  beforeEach(() => {
    vi.useFakeTimers();
    hidden = false;
    entered.mockReset();
    api = {
      ports: vi.fn<PreviewApi["ports"]>(() => Promise.resolve([8000])),
      open: vi.fn<PreviewApi["open"]>(() => Promise.resolve({ preview_id: "l", url: one.url, ticket: "x", expires_ms: 1 })),
      close: vi.fn<PreviewApi["close"]>(() => Promise.resolve({ closed: true })),
      list: vi.fn<PreviewApi["list"]>(() => Promise.resolve([one, { ...one, preview_id: "other", term_id: "u" }])),
    };
  });
  afterEach(() => vi.useRealTimers());

  it("asks for the ports at a pace, and stops when nobody follows", async () => {
    const previews = make();
    const stop = previews.follow();
    await settle();
    expect(previews.state.get().ports).toEqual([8000]);
    expect(previews.state.get().open).toEqual([one]);
    await vi.advanceTimersByTimeAsync(portsEveryMs * 3);
    expect(api.ports).toHaveBeenCalledTimes(4);
    stop();
    await vi.advanceTimersByTimeAsync(portsEveryMs * 3);
    expect(api.ports).toHaveBeenCalledTimes(4);
  });

  it("asks for no ports while the page is hidden, but keeps an open preview alive", async () => {
    const previews = make();
    previews.follow();
    await settle();
    hidden = true;
    const [ports, lists] = [api.ports.mock.calls.length, api.list.mock.calls.length];
    await vi.advanceTimersByTimeAsync(keepEveryMs * 2 + portsEveryMs * 2);
    expect(api.ports).toHaveBeenCalledTimes(ports);
    expect(api.list.mock.calls.length - lists).toBe(2);
  });

  it("has no previews to keep alive where none is open", async () => {
    api.list.mockResolvedValue([]);
    make().follow();
    await settle();
    const lists = api.list.mock.calls.length;
    await vi.advanceTimersByTimeAsync(keepEveryMs * 3);
    expect(api.list).toHaveBeenCalledTimes(lists);
  });

  it("opens with the ticket, and tells why it could not", async () => {
    const previews = make();
    previews.follow();
    await previews.open(8000);
    expect(api.open).toHaveBeenCalledWith({ project: "p", term_id: "t", port: 8000 });
    expect(entered).toHaveBeenCalledWith(expect.objectContaining({ ticket: "x" }));
    api.open.mockRejectedValueOnce(new Failure("CONFLICT", { rule: "preview.port" }));
    await previews.open(8001);
    expect(previews.state.get().failure?.facts.rule).toBe("preview.port");
    previews.dismiss();
    expect(previews.state.get().failure).toBeNull();
  });

  it("closes, and forgets the ports of a program that is gone", async () => {
    const previews = make();
    previews.follow();
    await settle();
    api.list.mockResolvedValue([]);
    await previews.close(one);
    expect(api.close).toHaveBeenCalledWith("p", "l");
    expect(previews.state.get().open).toEqual([]);
    api.ports.mockRejectedValue(new Failure("NOT_FOUND"));
    await vi.advanceTimersByTimeAsync(portsEveryMs);
    expect(previews.state.get().ports).toEqual([]);
  });
});
