export { runFile } from "./model";
export { RunPage } from "./components/RunPage";
export { useRunPanel } from "./components/RunPanel";
