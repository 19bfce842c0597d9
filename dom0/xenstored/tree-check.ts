// Whether a tree is in order: what is kept along with its nodes is what making them anew gives.
import { type Node, nodeOf, type Tree, treeOf, walk } from './store.ts';
import { each, type Usages } from './usage.ts';

/** What is wrong, in words; undefined when all is well. Looks at every node. */
export function wrongIn(tree: Tree): string | undefined {
  for (const [path, node] of walk(tree.root, '/')) {
    const anew = nodeOf(node, node.children.entries());
    if (summary(node) !== summary(anew)) return `below ${path} is kept ${summary(node)} but there is ${summary(anew)}`;
  }
  const anew = treeOf(tree.root, tree.special.entries());
  if (anew.special.tags !== tree.special.tags) return 'the permissions of special watches are tagged wrongly';
  const [kept, there] = [text(tree.usage), text(anew.usage)];
  return kept === there ? undefined : `usage is kept as ${kept} but is ${there}`;
}

const text = (usages: Usages): string => JSON.stringify(each(usages));

function summary({ children, count, below }: Node): string {
  return `${count} nodes, ${children.nameBytes} bytes of names, tags ${children.tags}, usage ${text(below)}`;
}
