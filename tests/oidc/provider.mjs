// A certified OpenID provider (npm's oidc-provider) on this machine, for the system test of signing in.
//
//     node provider.mjs REDIRECT_URI
//
// Prints its address once it listens. Whoever signs in is who they say that they are: ana is in a group of analysts,
// everybody else in none. A line `rotate` on standard input has it sign with a new key from then on.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

const [redirect] = process.argv.slice(2);
// What the provider says of its defaults is no answer of ours.
console.info = console.error;
const groups = { ana: ['everybody', 'soc-analysts'] };

function provider(issuer) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: randomBytes(8).toString('hex') };
  return new Provider(issuer, {
    clients: [{
      client_id: 'signalbox',
      client_secret: 'a secret: 100% of it',
      redirect_uris: [redirect],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    }],
    jwks: { keys: [key] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    pkce: { required: () => true },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
    findAccount: (ctx, id) => ({
      accountId: id,
      claims: () => ({
        sub: id,
        name: `${id} of the night shift`,
        email: `${id}@mssp.example`,
        email_verified: true,
        groups: groups[id] ?? ['everybody'],
      }),
    }),
  });
}

const server = createServer((request, response) => answer(request, response));
let answer;
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  answer = provider(issuer).callback();
  console.log(issuer);
  createInterface({ input: process.stdin }).on('line', (line) => {
    if (line === 'rotate') {
      answer = provider(issuer).callback();
      console.log('rotated');
    }
  });
});
