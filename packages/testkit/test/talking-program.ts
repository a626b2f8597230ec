process.stdout.write(`pid of parent is ${process.ppid}, uid ${process.getuid?.()}, ${process.env.GREETING}\n`)
process.stderr.write('warned\n')
if (process.argv[2] === 'end') process.exitCode = 7
else setInterval(() => {}, 60_000)
