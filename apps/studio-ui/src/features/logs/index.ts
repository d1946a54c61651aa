export { LogsPage } from "./components/LogsPage";
