import { expect, it } from "vitest";
import { deviceOf } from "./device";

it("names browser and system of the usual ones", () => {
  expect(deviceOf("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")).toBe("Firefox, Linux");
  expect(deviceOf("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 Edg/126.0")).toBe("Edge, Windows");
  expect(deviceOf("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1 Version/17.5 Mobile Safari/604.1")).toBe("Safari, iOS");
  expect(deviceOf("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36")).toBe("Chrome, macOS");
});

it("shows what is no browser as it is, and nothing as nothing", () => {
  expect(deviceOf("curl/8.5")).toBe("curl/8.5");
  expect(deviceOf("JSON-RPC")).toBe("JSON-RPC");
  expect(deviceOf("")).toBeNull();
});
