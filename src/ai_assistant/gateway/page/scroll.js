// Keeps the newest line in sight while an answer grows, until the reader scrolls up.

const NEAR = 48;

export class Scroller {
  #following = true;
  #last = 0;

  constructor(area, button) {
    this.area = area;
    this.button = button;
    area.addEventListener("scroll", () => this.#moved(), { passive: true });
    button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.grown()).observe(area);
  }

  get #below() {
    return this.area.scrollHeight - this.area.clientHeight - this.area.scrollTop;
  }

  #moved() {
    // Only a movement upwards is the reader's wish to stay; growing text never moves the view up by itself.
    if (this.#below <= NEAR) this.#following = true;
    else if (this.area.scrollTop < this.#last - 2) this.#following = false;
    this.#last = this.area.scrollTop;
    this.#showButton();
  }

  #showButton() {
    this.button.hidden = this.#following || this.#below <= NEAR;
  }

  grown() {
    if (this.#following) this.area.scrollTop = this.area.scrollHeight;
    this.#showButton();
  }

  toEnd() {
    this.#following = true;
    this.grown();
  }
}
