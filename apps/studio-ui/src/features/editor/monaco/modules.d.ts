declare module "monaco-editor/esm/vs/editor/editor.api.js" {
  export * from "monaco-editor";
}
declare module "monaco-editor/esm/vs/editor/editor.worker.js?worker" {
  const makeWorker: { new (): Worker };
  export default makeWorker;
}
declare module "monaco-editor/esm/vs/editor/browser/*";
declare module "monaco-editor/esm/vs/editor/contrib/*";
declare module "monaco-editor/esm/vs/editor/standalone/*";
declare module "monaco-editor/esm/vs/basic-languages/*";
declare module "monaco-editor/esm/vs/base/*";

interface Window {
  MonacoEnvironment?: { getWorker(): Worker };
}
