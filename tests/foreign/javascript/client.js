// The stock JavaScript client as a program: one request a line on standard input, one answer a line
// on standard output. `src/client.rs` is the other end.
import { createClient } from "@libsql/client";
import { createInterface } from "node:readline";

let client;

const requests = {
  open({ path, url, token }) {
    client = createClient({ url: `file:${path}`, syncUrl: url, authToken: token, offline: true });
  },
  async run({ sql }) {
    await client.execute(sql);
  },
  async sync() {
    await client.sync();
  },
  async number({ sql }) {
    const result = await client.execute(sql);
    return Number(result.rows[0][0]);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { ok: (await requests[request.do](request)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
client?.close();
