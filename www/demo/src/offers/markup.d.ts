/** Markup that the build puts into the script as text. */
declare module '*.html' {
  const markup: string;
  export default markup;
}
