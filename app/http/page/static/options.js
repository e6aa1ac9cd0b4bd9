// The options of POST /enhance, as the form has them.

/** What differs from the defaults, by the names that the service knows. */
export function chosenOptions(form) {
  const chosen = {};
  for (const field of form.elements) {
    if (field.name && !isDefault(field)) chosen[field.name] = value(field);
  }
  return chosen;
}

function value(field) {
  return field.type === "checkbox" ? String(field.checked) : field.value;
}

function isDefault(field) {
  if (field.type === "radio") return !field.checked || field.defaultChecked;
  if (field.type === "checkbox") return field.checked === field.defaultChecked;
  if (field.tagName === "SELECT") return field.value === field.options[0].value;
  return field.value === field.defaultValue;
}
