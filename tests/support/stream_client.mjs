// A client of the model server in a process of its own, so that a test can kill it: node stream_client.mjs '<json>' with { url, token, requests: [{ id,
// path, body }] }. All requests run at once. Each line it prints is { id, told, begun, end } of stream.mjs, at each chunk and at the end.
import { ask } from './stream.mjs';

const { url, token, requests } = JSON.parse(process.argv[2]);
await Promise.all(requests.map((request) => ask({ url, token, request, say: (state) => process.stdout.write(`${JSON.stringify(state)}\n`) })));
