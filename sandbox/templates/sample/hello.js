// Node runs this file. Output streams while it runs.
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const main = async () => {
  for (let i = 3; i > 0; i--) {
    console.log(`${i}...`);
    await wait(200);
  }
  console.log('Lift-off!');
};

main();
