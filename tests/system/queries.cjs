// Kusto's own parser over the queries of a file: prints each problem, nothing when there is none.
// node queries.cjs FOLDER_OF_NODE_MODULES FILE
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const [, , modules, file] = process.argv;
const load = createRequire(`${modules}/`);

global.window = global; // it was made for browsers
load("@kusto/language-service-next/bridge.min.js");
load("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { Language } = global.Kusto;
const list = (found, type) => System.Linq.Enumerable.from(found, type).ToArray(type);

// https://learn.microsoft.com/azure/azure-monitor/reference/tables-index, by their names in Application Insights
const COMMON =
  "timestamp: datetime, itemCount: int, customDimensions: dynamic, operation_Name: string, operation_Id: string, " +
  "cloud_RoleName: string, cloud_RoleInstance: string";
const RUN = `${COMMON}, id: string, name: string, success: string, resultCode: string, duration: real`;
const TABLES = { traces: `${COMMON}, message: string, severityLevel: int`, requests: RUN, dependencies: RUN };

const tables = Object.entries(TABLES).map(
  ([name, columns]) => new Language.Symbols.TableSymbol.$ctor7(name, `(${columns})`, null),
);
const database = new Language.Symbols.DatabaseSymbol.ctor("insights", tables);
const globals = Language.GlobalState.Default.WithDatabase(database);

for (const query of readFileSync(file, "utf8").split("\n\n")) {
  const code = Language.KustoCode.ParseAndAnalyze(query, globals);
  for (const problem of list(code.GetDiagnostics(), Language.Diagnostic)) {
    console.log(`${query.trim().split("\n")[0]}\n  ${problem.Message}`);
  }
}
