// Reads an AsyncAPI file with all that it refers to. Says what is wrong and ends with 1; a hint is no fault.

import { fromFile, Parser } from "@asyncapi/parser";

/** In the order of Language Server Protocol: error, warning, information, hint. */
const WARNING = 1;
const [path] = process.argv.slice(2);
const { document, diagnostics } = await fromFile(new Parser(), path).parse();
const faults = diagnostics.filter(({ severity }) => severity <= WARNING);
for (const { code, message, path } of faults) console.error(`${code} at ${path.join(".")}: ${message}`);
if (document === undefined || faults.length > 0) process.exit(1);
console.log(`${path}: ${document.allMessages().length} messages, ${document.allOperations().length} operations, OK`);
