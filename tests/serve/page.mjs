// Uses the page in a real browser: page.mjs URL PICTURE SCREENSHOTS_FOLDER. CHROMIUM names the browser's program.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, picture, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || undefined, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  const foreign = [];
  page.on("request", (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(url) || foreign.push(request.url()));
  await page.goto(url);

  const ask = async (question) => {
    const answers = await page.locator("#history .assistant").count();
    await page.getByLabel("Question").fill(question);
    await page.keyboard.press("Enter");
    await page.waitForFunction((n) => document.querySelectorAll("#history .assistant").length > n, answers);
    await page.waitForFunction(() => !document.getElementById("ask").disabled, null, { timeout: 120000 });
    return page.locator("#history .assistant").last().textContent();
  };
  const pixels = () => page.evaluate(() => document.getElementById("view").toDataURL());
  const cost = async () => Promise.all(["tokens", "bytes", "time"].map((id) => page.locator(`#${id}`).textContent()));

  await page.getByLabel("Drop a picture").setInputFiles(picture);
  await page.waitForFunction(() => document.getElementById("view").getAttribute("aria-label") === "Picture, the picture");
  assert.ok((await ask("what is in the picture?")).length > 3);
  assert.equal(await page.locator("#problem").textContent(), "");
  const few = await cost();
  assert.equal(few[0], "64 of 576");

  const stage = page.locator("#stage");
  // The picture, what entered the decoder, and what went on behind the filter.
  assert.equal(await stage.getAttribute("max"), "2");
  await stage.focus();
  await page.keyboard.press("Home");
  const seen = new Set([await pixels()]);
  for (let i = 0; i < 2; i++) {
    await page.keyboard.press("ArrowRight");
    seen.add(await pixels());
  }
  assert.equal(seen.size, 3, "every stage looks different");
  await page.screenshot({ path: `${folder}/desktop.png` });

  await page.locator("#budget").focus();
  await page.keyboard.press("End");
  assert.ok((await ask("is there a train?")).length > 0);
  const all = await cost();
  assert.equal(all[0], "576 of 576");
  assert.ok(parseFloat(all[1]) > parseFloat(few[1]), `${all[1]} for everything, ${few[1]} for 64`);
  assert.equal(await page.locator("#history li").count(), 4);

  await page.setViewportSize({ width: 375, height: 800 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "fits a phone");
  await page.screenshot({ path: `${folder}/phone.png`, fullPage: true });
  assert.deepEqual([problems, foreign], [[], []]);
  console.log(`the page in Chromium ${browser.version()}: ${few.join(", ")}`);
} finally {
  await browser.close();
}
