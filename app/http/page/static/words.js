// What the page was served with: its words in one language, and what the service wants.

const config = JSON.parse(document.getElementById("config").textContent);

export const maxUploadMb = config.maxUploadMb;
export const keyWanted = config.keyWanted;

/** The words for `key`, with `{name}` replaced by `values.name`; undefined if there are none. */
export function words(key, values = {}) {
  return config.words[key]?.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const language = document.documentElement.lang;

export function number(value, digits = 0) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(language, options).format(value);
}

/** A file's size, in the units that the service's limits have: 1 MB is 10^6 bytes. */
export function bytes(count) {
  return count < 1e6 ? `${number(count / 1e3)} kB` : `${number(count / 1e6, 1)} MB`;
}

export function duration(ms) {
  return ms < 1000 ? `${number(ms)} ms` : `${number(ms / 1000, 1)} s`;
}
