export { TerminalPage } from "./components/TerminalPage";
