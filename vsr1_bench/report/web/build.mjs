// Bundle src/ into dist/: viewer.js, viewer.css, and SOURCE: hashes of both, and of their sources.
// Run by `npm run build`. tests/integration/test_report_build.py computes the same hash in Python.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const sources = [
  "build.mjs",
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  ...readdirSync(join(root, "src"), { recursive: true })
    .map((name) => "src/" + String(name).replaceAll("\\", "/"))
    .filter((name) => /\.(ts|css)$/.test(name)),
].sort();

const hash = createHash("sha256");
for (const name of sources) {
  const text = readFileSync(join(root, name));
  hash.update(`${name}\0${text.length}\0`).update(text);
}

const common = {
  absWorkingDir: root,
  bundle: true,
  minify: true,
  charset: "ascii",
  legalComments: "none",
  target: ["es2022", "chrome123", "firefox128", "safari17.5"],
  logLevel: "warning",
  write: false,
};
const licences =
  "/* vsr1-bench viewer (Apache-2.0). Bundled: marked (MIT), DOMPurify (MPL-2.0 or Apache-2.0), " +
  "KaTeX (MIT). Source: vsr1_bench/report/web. */\n";

const script = await build({ ...common, entryPoints: ["src/main.ts"], format: "iife" });
const style = await build({ ...common, entryPoints: ["src/style.css"] });

// The page has both inline: nothing in them may end their element.
const viewer = {
  "viewer.js":
    licences + script.outputFiles[0].text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--"),
  "viewer.css": licences + style.outputFiles[0].text,
};
mkdirSync(join(root, "dist"), { recursive: true });
let record = `${hash.digest("hex")} sources\n`;
for (const [name, text] of Object.entries(viewer)) {
  writeFileSync(join(root, "dist", name), text);
  record += `${createHash("sha256").update(text).digest("hex")} ${name}\n`;
}
writeFileSync(join(root, "dist", "SOURCE"), record);
