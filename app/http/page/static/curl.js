// The command that does what the page does.

/** For a POSIX shell: a command that posts `file` with `options` to `url`, saved as `output`. */
export function curlCommand({ url, file, options, keyWanted, output }) {
  const parts = ["curl", `-F ${quoted(`file=@${formName(file)}`)}`];
  for (const [name, value] of Object.entries(options)) parts.push(`-F ${quoted(`${name}=${value}`)}`);
  // the key itself stays out of a line that is copied, and kept in a history
  if (keyWanted) parts.push('-H "X-API-Key: $GPEN_KEY"');
  parts.push(quoted(url), `-o ${quoted(outputName(output))}`);
  return parts.join(" ");
}

/** curl ends a file's name at `,` and `;` unless it is in quotation marks; `-` is standard input. */
function formName(name) {
  const path = name.startsWith("-") ? `./${name}` : name;
  return /[,;"\\]|^\s|\s$/.test(path) ? `"${path.replace(/["\\]/g, "\\$&")}"` : path;
}

function outputName(name) {
  return name.startsWith("-") ? `./${name}` : name;
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
