// Compare what npm chose with the committed list: node integrity.mjs LOCK LIST [--write]
// npm's own record of what it installed names a registry, so it stays in .tools; the list has name, version and hash only.
import { readFileSync, writeFileSync } from "node:fs";

const [lockPath, listPath, mode] = process.argv.slice(2);
const packages = Object.entries(JSON.parse(readFileSync(lockPath, "utf8")).packages);
const found = packages
  .filter(([path]) => path !== "")
  .map(([path, entry]) => `${path.replace(/^node_modules\//, "")} ${entry.version} ${entry.integrity}`)
  .sort();

if (mode === "--write") {
  writeFileSync(listPath, found.join("\n") + "\n");
} else {
  const wanted = readFileSync(listPath, "utf8").trimEnd().split("\n");
  const surplus = found.filter((line) => !wanted.includes(line));
  const missing = wanted.filter((line) => !found.includes(line));
  if (surplus.length + missing.length > 0) {
    console.error("npm chose other packages than tools/node/integrity.txt lists:");
    for (const line of surplus) console.error(`  + ${line}`);
    for (const line of missing) console.error(`  - ${line}`);
    process.exit(1);
  }
}
