'use strict';
// The page is whole without this. It filters the scenarios, leads from one difference to the next, and copies.
{
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const say = (words) => { byId('status').textContent = words; };

  // ---- the filter

  const scenarios = all('.scenario');
  const text = new Map(scenarios.map((scenario) => {
    const area = scenario.closest('.area').querySelector('h2');
    const summary = scenario.querySelector('summary');
    return [scenario, `${area.textContent} ${summary.textContent}`.toLowerCase()];
  }));

  const isShown = (scenario) =>
    !scenario.hidden && (!byId('only').checked || scenario.matches('.remarkable'));

  function filter() {
    const words = byId('filter').value.toLowerCase().split(/\s+/);
    for (const scenario of scenarios) {
      scenario.hidden = !words.every((word) => text.get(scenario).includes(word));
    }
    for (const area of all('.area')) {
      area.hidden = !area.querySelector('.scenario:not([hidden])');
    }
    say(`${scenarios.filter(isShown).length} of ${scenarios.length} shown`);
  }

  byId('filter').addEventListener('input', filter);
  byId('only').addEventListener('change', filter);
  byId('tools').addEventListener('submit', (event) => event.preventDefault());

  // ---- from difference to difference

  let current = byId('scenarios');

  function go(forth) {
    const focused = document.activeElement;
    const from = byId('scenarios').contains(focused) ? focused : current;
    const isBeyond = (difference) => {
      const side = forth ? Node.DOCUMENT_POSITION_FOLLOWING : Node.DOCUMENT_POSITION_PRECEDING;
      return difference !== from && from.compareDocumentPosition(difference) & side
        && !difference.contains(from);
    };
    const beyond = all('.difference').filter((difference) =>
      isShown(difference.closest('.scenario')) && isBeyond(difference));
    const to = forth ? beyond[0] : beyond.at(-1);
    if (!to) {
      say(`No ${forth ? 'further' : 'earlier'} difference`);
      return;
    }
    current = to;
    to.closest('details').open = true;
    to.focus({ preventScroll: true });
    to.scrollIntoView({ block: 'center' });
    // Which difference it is, its own label tells.
    say(`In: ${to.closest('details').querySelector('h3').textContent}`);
  }

  byId('next').addEventListener('click', () => go(true));
  byId('previous').addEventListener('click', () => go(false));
  addEventListener('keydown', (event) => {
    const isPlain = !event.ctrlKey && !event.altKey && !event.metaKey;
    const writes = event.target.matches('input[type="search"]');
    if (isPlain && !writes && byId('keys').checked && (event.key === 'n' || event.key === 'p')) {
      event.preventDefault();
      go(event.key === 'n');
    }
  });

  // ---- a link leads to what it names, though that be filtered out or closed

  function reveal(hash) {
    const target = byId(hash.slice(1));
    const scenario = target?.closest('.scenario');
    if (!scenario) return;
    if (!isShown(scenario)) {
      byId('filter').value = '';
      byId('only').checked = false;
      filter();
    }
    scenario.open = true;
    target.scrollIntoView();
    (target === scenario ? scenario.querySelector('summary') : target).focus();
  }

  addEventListener('hashchange', () => reveal(location.hash));
  // It may be the link of the address already.
  addEventListener('click', (event) => reveal(event.target.closest?.('a')?.hash ?? ''));

  // ---- the rest

  for (const [id, open] of [['open', true], ['close', false]]) {
    byId(id).addEventListener('click', () => {
      for (const scenario of scenarios.filter(isShown)) scenario.open = open;
    });
  }

  for (const button of all('.copy')) {
    button.addEventListener('click', async () => {
      const json = button.parentElement.querySelector('pre');
      try {
        await navigator.clipboard.writeText(json.textContent);
        button.textContent = 'Copied';
        say('Copied');
      } catch {
        getSelection().selectAllChildren(json);
        say('Selected: the browser does not let a page copy');
      }
    });
  }

  for (const element of all('.scripted')) element.hidden = false;
  filter();
  reveal(location.hash);
}
