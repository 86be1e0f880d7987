// Tests `vatic serve` with the Flight SQL client of npm. Needs VATIC_BIN; exits with 0 if all tests pass, else with 1.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import flight from "@lancedb/arrow-flight-sql-client";

const START_MS = 30_000;
const TEST_MS = 30_000;

/** The promise, or an error after the time limit. */
function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Starts a server on a free port; an unexpected end of the server is an error. */
async function start(dataDir) {
  assert(process.env.VATIC_BIN, "set VATIC_BIN to the path of the vatic binary");
  const server = spawn(process.env.VATIC_BIN, ["serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((_, reject) => {
    server.on("error", reject);
    server.on("exit", (code) => reject(new Error(`the server ended with code ${code}`)));
  });
  ended.catch(() => {});
  const line = new Promise((resolve) => createInterface(server.stdout).once("line", resolve));
  const first = await within(START_MS, "the server starts", Promise.race([line, ended]));
  return { server, ended, host: first.match(/ listens at grpc:\/\/(\S+)$/)[1] };
}

/** The rows of a result as plain objects. */
async function rows(client, sql) {
  const result = await client.query(sql);
  return (await result.collectToObjects()).map((row) => row.toJSON());
}

const TESTS = {
  "integers and strings arrive": async (client) => {
    const sql = "SELECT value AS i, concat('row ', value) AS s FROM generate_series(1, 3) ORDER BY value";
    assert.deepEqual(await rows(client, sql), [
      { i: 1n, s: "row 1" },
      { i: 2n, s: "row 2" },
      { i: 3n, s: "row 3" },
    ]);
  },

  // The client cannot decode views, and strings of Parquet files are views in the engine.
  "strings of a table arrive": async (client) => {
    await rows(client, "CREATE TABLE t AS SELECT 'grüße' AS s, arrow_cast('dictionary', 'Dictionary(Int32, Utf8)') AS d");
    assert.deepEqual(await rows(client, "SELECT s, d FROM t"), [{ s: "grüße", d: "dictionary" }]);
    assert.deepEqual(await rows(client, "SELECT min(s) AS m, count(*) AS n FROM t"), [{ m: "grüße", n: 1n }]);
  },

  "NULL arrives": async (client) => {
    assert.deepEqual(await rows(client, "SELECT CAST(NULL AS INT) AS i, CAST(NULL AS VARCHAR) AS s"), [{ i: null, s: null }]);
  },

  "aggregates arrive": async (client) => {
    const sql = "SELECT count(*) AS n, sum(value) AS total, avg(value) AS mean FROM generate_series(1, 100000)";
    assert.deepEqual(await rows(client, sql), [{ n: 100000n, total: 5000050000n, mean: 50000.5 }]);
  },

  "a hundred thousand rows arrive": async (client) => {
    const found = await rows(client, "SELECT value AS i FROM generate_series(1, 100000)");
    assert.equal(found.length, 100000);
    assert.equal(found.reduce((total, row) => total + row.i, 0n), 5000050000n);
  },

  "an empty result is empty": async (client) => {
    assert.deepEqual(await rows(client, "SELECT 'x' AS s FROM generate_series(1, 3) WHERE value > 5"), []);
  },

  "an error has its code and text": async (client) => {
    await assert.rejects(rows(client, "SELECT * FROM nowhere"), (error) => {
      assert.equal(error.code, 5); // NOT_FOUND
      assert.match(error.details, /nowhere.*\[42P01\]$/);
      return true;
    });
  },

  "the client works after an error": async (client) => {
    await assert.rejects(rows(client, "SELEC 1"), { code: 3 }); // INVALID_ARGUMENT
    assert.deepEqual(await rows(client, "SELECT 1 AS a"), [{ a: 1n }]);
  },

  "a model is trained and predicts": async (client) => {
    const [trained] = await rows(
      client,
      `TRAIN MODEL line TARGET y OPTIONS (model_type = 'linear_reg')
       AS SELECT value AS x, value * 2.0 + 1 AS y FROM generate_series(1, 200)`,
    );
    assert.equal(trained.status, "CREATED");
    const [found] = await rows(client, "SELECT predicted_y FROM predict(line, (SELECT 10 AS x))");
    assert(Math.abs(found.predicted_y - 21) < 1e-3, String(found.predicted_y));
  },
};

const dataDir = mkdtempSync(join(tmpdir(), "vatic-node-"));
const { server, ended, host } = await start(dataDir);
let failed = 0;
try {
  const connecting = flight.Client.connect({ host, username: "someone", password: "secret" });
  const client = await within(TEST_MS, "connect", Promise.race([connecting, ended]));
  for (const [name, test] of Object.entries(TESTS)) {
    try {
      await within(TEST_MS, name, Promise.race([test(client), ended]));
      console.log(`ok      ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}`);
    }
  }
} catch (error) {
  failed += 1;
  console.log(`FAILED  ${error.stack}`);
} finally {
  server.removeAllListeners("exit");
  server.kill("SIGKILL");
  rmSync(dataDir, { recursive: true, force: true });
}
// The client keeps its connection open and has no way to close it.
process.exit(failed ? 1 : 0);
