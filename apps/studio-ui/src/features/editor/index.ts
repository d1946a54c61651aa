export { CodePage } from "./components/CodePage";
export { hasUnsaved } from "./model/workbench";
